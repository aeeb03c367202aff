import { initialize, type ParameterSpec } from '@clip-gen/nn';
import { AdamW, defaultDecay, ParameterArena, type StepResult } from '@clip-gen/optimizer';
import type { Tensor } from '@clip-gen/tensor';
import { savedTensor } from './saved-state.ts';

export interface TrainableOptions {
  readonly beta1: number;
  readonly beta2: number;
  readonly weightDecay: number;
  readonly gradientClip: number;
  readonly averageDecay: number;
  readonly seed: number;
}

type FloatTensor = Tensor<'float32'>;

/** The parameters that one optimiser moves: values, gradients, moments and perhaps a moving average. */
export class Trainable {
  readonly arena: ParameterArena;
  /** Values by name, as a session's feeds: the arena's own tensors, valid for its life. */
  readonly values: Readonly<Record<string, FloatTensor>>;
  /** Gradients by `grad.<name>`, as a session's `into`. */
  readonly gradients: Readonly<Record<string, FloatTensor>>;
  readonly #adam: AdamW;
  readonly #options: TrainableOptions;

  /** Allocates everything and draws the starting values. */
  constructor(specs: readonly ParameterSpec[], options: TrainableOptions) {
    this.#options = options;
    this.arena = new ParameterArena(
      specs.map(({ name, shape }) => ({ name, shape, decay: defaultDecay(name, shape) })),
      { averages: options.averageDecay > 0 },
    );
    this.values = Object.fromEntries(this.arena.values);
    this.gradients = Object.fromEntries([...this.arena.gradients].map(([name, value]) => [gradientName(name), value]));
    const { beta1, beta2, weightDecay } = options;
    this.#adam = new AdamW(this.arena, { beta1, beta2, epsilon: 1e-8, weightDecay });
    for (const [name, start] of initialize(specs, options.seed)) this.arena.values.get(name)!.data.set(start.data);
    if (options.averageDecay > 0) this.arena.updateAverage(0);
  }

  /** Takes over the starting values that are given in the right shape; the others stay as they were drawn. */
  start(given: Readonly<Record<string, FloatTensor>>): void {
    for (const [name, own] of this.arena.values) {
      const tensor = given[name];
      if (tensor?.shape.join() === own.shape.join()) own.data.set(tensor.data);
    }
    if (this.#options.averageDecay > 0) this.arena.updateAverage(0);
  }

  /** One update from the gradients; a step with a non-finite gradient changes nothing. */
  step(learningRate: number): StepResult {
    const { gradientClip, averageDecay } = this.#options;
    const result = this.#adam.step({ learningRate, ...(gradientClip > 0 ? { maxNorm: gradientClip } : {}) });
    if (averageDecay > 0 && !result.skipped) {
      // Young averages forget fast, so that they do not hold on to the random start.
      const steps = Math.max(...Object.values(this.steps));
      this.arena.updateAverage(Math.min(averageDecay, (1 + steps) / (10 + steps)));
    }
    return result;
  }

  /** The weights to use: the moving average where there is one. */
  get weights(): ReadonlyMap<string, FloatTensor> {
    return this.#options.averageDecay > 0 ? this.arena.averages : this.arena.values;
  }

  /** Everything that a checkpoint must keep, by name. */
  *tensors(prefix: string): Generator<readonly [string, FloatTensor]> {
    for (const kind of ['values', 'firstMoments', 'secondMoments', 'averages'] as const) {
      for (const [name, value] of this.arena[kind]) yield [`${prefix}.${kind}.${name}`, value];
    }
  }

  /** Updates made, by parameter group. */
  get steps(): Readonly<Record<string, number>> {
    return this.#adam.state().steps;
  }

  /** @throws failed_precondition when a tensor is missing or has another shape */
  restore(prefix: string, saved: ReadonlyMap<string, Tensor>, steps: Readonly<Record<string, number>>): void {
    const pairs = [...this.tensors(prefix)].map(([name, own]) => [own, savedTensor(saved, name, own)] as const);
    for (const [own, tensor] of pairs) own.data.set(tensor.data);
    this.#adam.restore({ steps });
  }
}

/** Name of the graph output that is a parameter's gradient. */
export function gradientName(parameter: string): string {
  return `grad.${parameter}`;
}
