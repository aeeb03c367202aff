import { ClipGenError } from '@clip-gen/errors';
import { initialize, type ParameterSpec } from '@clip-gen/nn';
import { AdamW, defaultDecay, ParameterArena, type StepResult } from '@clip-gen/optimizer';
import type { Tensor } from '@clip-gen/tensor';

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
  readonly #adam: AdamW;
  readonly #options: TrainableOptions;

  /** Allocates everything and draws the starting values. */
  constructor(specs: readonly ParameterSpec[], options: TrainableOptions) {
    this.#options = options;
    this.arena = new ParameterArena(
      specs.map(({ name, shape }) => ({ name, shape, decay: defaultDecay(name, shape) })),
      { averages: options.averageDecay > 0 },
    );
    const { beta1, beta2, weightDecay } = options;
    this.#adam = new AdamW(this.arena, { beta1, beta2, epsilon: 1e-8, weightDecay });
    for (const [name, start] of initialize(specs, options.seed)) this.arena.values.get(name)!.data.set(start.data);
    if (options.averageDecay > 0) this.arena.updateAverage(0);
  }

  /** Values by name, as a session's feeds. */
  get values(): Readonly<Record<string, FloatTensor>> {
    return Object.fromEntries(this.arena.values);
  }

  /** Gradients by `grad.<name>`, as a session's `into`. */
  get gradients(): Readonly<Record<string, FloatTensor>> {
    return Object.fromEntries([...this.arena.gradients].map(([name, value]) => [gradientName(name), value]));
  }

  /** One update from the gradients; a step with a non-finite gradient changes nothing. */
  step(learningRate: number): StepResult {
    const { gradientClip, averageDecay } = this.#options;
    const result = this.#adam.step({ learningRate, ...(gradientClip > 0 ? { maxNorm: gradientClip } : {}) });
    if (averageDecay > 0 && !result.skipped) {
      const steps = Math.max(...Object.values(this.#adam.state().steps));
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

  get steps(): Readonly<Record<string, number>> {
    return this.#adam.state().steps;
  }

  /** @throws failed_precondition when a tensor is missing or has another shape */
  restore(prefix: string, saved: ReadonlyMap<string, Tensor>, steps: Readonly<Record<string, number>>): void {
    const pairs = [...this.tensors(prefix)].map(([name, own]) => {
      const tensor = saved.get(name);
      if (tensor?.dtype !== 'float32' || tensor.shape.join() !== own.shape.join()) {
        throw new ClipGenError(
          'failed_precondition',
          `the checkpoint's ${name} is ${tensor ? `${tensor.dtype} [${tensor.shape.join(', ')}]` : 'missing'}; ` +
            `this model needs float32 [${own.shape.join(', ')}]: use the settings it was made with, or another --out`,
        );
      }
      return [own, tensor as FloatTensor] as const;
    });
    for (const [own, tensor] of pairs) own.data.set(tensor.data);
    this.#adam.restore({ steps });
  }
}

/** Name of the graph output that is a parameter's gradient. */
export function gradientName(parameter: string): string {
  return `grad.${parameter}`;
}
