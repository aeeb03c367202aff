import type { OutputGroup } from '@clip-gen/graph';
import { initialize, type ParameterSpec } from '@clip-gen/nn';
import { AdamW, defaultDecay, ParameterArena, type ArenaBucket, type StepResult } from '@clip-gen/optimizer';
import type { Tensor } from '@clip-gen/tensor';
import { GradientReduction } from './distributed/gradient-reduction.ts';
import type { World } from './distributed/world.ts';
import { savedTensor } from './saved-state.ts';

export interface TrainableOptions {
  readonly beta1: number;
  readonly beta2: number;
  readonly weightDecay: number;
  readonly gradientClip: number;
  readonly averageDecay: number;
  readonly seed: number;
  /** Runs of the graph whose gradients are averaged in one update. */
  readonly accumulate: number;
  /** Where it is set, the moving average follows the ends of rounds: see `averageOver`. */
  readonly localSteps?: object | undefined;
}

type FloatTensor = Tensor<'float32'>;

/** Gradients are reduced in pieces of so many bytes: what is there already travels while the rest is computed. */
const BUCKET_BYTES = 2 ** 24;
/** The first parameters' gradients are the last to be there, and nothing is computed while they travel. */
const FIRST_BUCKET_BYTES = 2 ** 21;

/** The parameters that one optimiser moves: values, gradients, moments and perhaps a moving average. */
export class Trainable {
  readonly arena: ParameterArena;
  /** Values by name, as a session's feeds: the arena's own tensors, valid for its life. */
  readonly values: Readonly<Record<string, FloatTensor>>;
  readonly #gradients: Readonly<Record<string, FloatTensor>>;
  readonly #microGradients: Readonly<Record<string, FloatTensor>>;
  readonly #buckets: readonly ArenaBucket[];
  readonly #adam: AdamW;
  readonly #options: TrainableOptions;

  /** Allocates everything and draws the starting values. */
  constructor(specs: readonly ParameterSpec[], options: TrainableOptions) {
    this.#options = options;
    this.arena = new ParameterArena(
      specs.map(({ name, shape }) => ({ name, shape, decay: defaultDecay(name, shape) })),
      { averages: options.averageDecay > 0, microGradients: options.accumulate > 1 },
    );
    this.values = Object.fromEntries(this.arena.values);
    this.#gradients = byGradientName(this.arena.gradients);
    this.#microGradients = byGradientName(this.arena.microGradients);
    this.#buckets = this.arena.buckets('gradients', BUCKET_BYTES, FIRST_BUCKET_BYTES);
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

  /** Where a run of the graph writes its gradients, by `grad.<name>`, as a session's `into`. @param run from 0 on */
  into(run = 0): Readonly<Record<string, FloatTensor>> {
    return run === 0 ? this.#gradients : this.#microGradients;
  }

  /** The graph's outputs in the groups that {@link GradientReduction.written} is told of. */
  get groups(): readonly OutputGroup[] {
    return this.#buckets.map(({ slices }) => ({ outputs: slices.map(({ spec }) => gradientName(spec.name)) }));
  }

  /** Takes in what the runs of one step write, of which none has begun. */
  async reduction(world: World): Promise<GradientReduction> {
    await world.lend(this.arena.ranges('gradients'));
    return new GradientReduction(this.arena, this.#buckets, this.#options.accumulate, world);
  }

  /**
   * One update from the mean of the gradients of all runs and processes, clipped as a whole; a step with a gradient that
   * is not finite on any process changes nothing on all.
   *
   * @param reduction which has been told of every bucket of every run
   * @param onChange told before the first value is changed
   */
  async step(learningRate: number, reduction: GradientReduction, onChange?: () => void): Promise<StepResult> {
    const { gradientClip, averageDecay, accumulate } = this.#options;
    const norm = await reduction.norm();
    onChange?.();
    const result = this.#adam.step({
      learningRate,
      ...(norm === undefined ? {} : { norm }),
      gradientScale: 1 / accumulate,
      ...(gradientClip > 0 ? { maxNorm: gradientClip } : {}),
    });
    if (averageDecay > 0 && !result.skipped && !this.#options.localSteps) {
      // Young averages forget fast, so that they do not hold on to the random start.
      const steps = Math.max(...Object.values(this.steps));
      this.arena.updateAverage(Math.min(averageDecay, (1 + steps) / (10 + steps)));
    }
    return result;
  }

  /** The moving averages as stretches of memory; none where there are none. */
  get averages(): readonly Float32Array[] {
    return this.#options.averageDecay > 0 ? this.arena.ranges('averages') : [];
  }

  /**
   * The moving average after local steps, whose values it does not see: as if each of them had ended where the outer step
   * did.
   *
   * @param taken steps of the whole training
   * @param steps of the round
   */
  averageOver(taken: number, steps: number): void {
    const { averageDecay } = this.#options;
    if (averageDecay > 0) this.arena.updateAverage(Math.min(averageDecay, (1 + taken) / (10 + taken)) ** steps);
  }

  /** Begins the optimiser anew: no moments, no steps. */
  forget(): void {
    for (const kind of ['firstMoments', 'secondMoments'] as const) {
      for (const array of this.arena.ranges(kind)) array.fill(0);
    }
    this.#adam.restore({ steps: Object.fromEntries(Object.keys(this.steps).map((group) => [group, 0])) });
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

function byGradientName(tensors: ReadonlyMap<string, FloatTensor>): Record<string, FloatTensor> {
  return Object.fromEntries([...tensors].map(([name, value]) => [gradientName(name), value]));
}

/** Name of the graph output that is a parameter's gradient. */
export function gradientName(parameter: string): string {
  return `grad.${parameter}`;
}
