import { ClipGenError, invalidArgument } from '@clip-gen/errors';
import { clipScale, globalNorm } from './gradient-norm.ts';
import type { ParameterArena } from './parameter-arena.ts';

/** What stays the same over a training. */
export interface AdamWOptions {
  /** Decay of the first moment, in [0, 1). */
  readonly beta1: number;
  /** Decay of the second moment, in [0, 1). */
  readonly beta2: number;
  /** Added to the root of the second moment, outside it; positive. */
  readonly epsilon: number;
  /** Decoupled decay of parameters flagged `decay`, at least 0. With 0 this is Adam. */
  readonly weightDecay: number;
}

/** What may differ from step to step. */
export interface StepOptions {
  /** At least 0. */
  readonly learningRate: number;
  /** Factor on every gradient, e.g. 1 / ranks after a summing all-reduce. Default 1. The gradients stay as they are. */
  readonly gradientScale?: number;
  /** Clip the norm of the scaled gradients to this. Default: no clipping. */
  readonly maxNorm?: number;
  /** `globalNorm` of the gradients before scaling, where the caller has it already: saves a pass over them. */
  readonly norm?: number;
  /** Only these groups' parameters. Default all. */
  readonly groups?: readonly string[];
}

/** What a step did. */
export interface StepResult {
  /** True when the norm was NaN or infinite: nothing was changed, no step was counted. */
  readonly skipped: boolean;
  /** Norm of the scaled gradients before clipping. */
  readonly norm: number;
  /** The factor that clipping applied, in (0, 1]. */
  readonly clip: number;
}

/** What a checkpoint keeps beside the arena's moments. */
export interface AdamWState {
  /** Steps taken, by parameter group. */
  readonly steps: { readonly [group: string]: number };
}

/**
 * AdamW (Loshchilov & Hutter, arXiv 1711.05101) in place over an arena, as `torch.optim.AdamW` computes it:
 * bias-corrected, epsilon outside the root. Single-threaded; bound by memory bandwidth.
 */
export class AdamW {
  readonly #arena: ParameterArena;
  readonly #options: AdamWOptions;
  readonly #steps = new Map<string, number>();

  /**
   * @param arena stays the caller's; one optimiser per arena, since the moments lie there
   * @throws invalid_argument for an option out of bounds
   */
  constructor(arena: ParameterArena, options: AdamWOptions) {
    const { beta1, beta2, epsilon, weightDecay } = options;
    if (!(beta1 >= 0 && beta1 < 1)) throw invalidArgument('beta1', 'in [0, 1)', beta1);
    if (!(beta2 >= 0 && beta2 < 1)) throw invalidArgument('beta2', 'in [0, 1)', beta2);
    if (!(epsilon > 0 && epsilon < Infinity)) throw invalidArgument('epsilon', 'a positive number', epsilon);
    if (!(weightDecay >= 0 && weightDecay < Infinity)) throw invalidArgument('weightDecay', 'at least 0', weightDecay);
    this.#arena = arena;
    this.#options = { beta1, beta2, epsilon, weightDecay };
    for (const { group } of arena.slices) this.#steps.set(group, 0);
  }

  /**
   * Updates the values from the gradients. Does nothing when a gradient is NaN or infinite, and says so.
   *
   * @throws invalid_argument for an option out of bounds
   * @throws not_found for an unknown group
   */
  step(options: StepOptions): StepResult {
    const { learningRate, gradientScale = 1, maxNorm, groups } = options;
    if (!(learningRate >= 0 && learningRate < Infinity))
      throw invalidArgument('learningRate', 'at least 0', learningRate);
    if (!(gradientScale > 0 && gradientScale < Infinity)) {
      throw invalidArgument('gradientScale', 'a positive number', gradientScale);
    }
    const slices = this.#arena.slicesOf(groups);
    const norm = (options.norm ?? globalNorm(this.#arena, groups)) * gradientScale;
    const clip = maxNorm === undefined ? 1 : clipScale(norm, maxNorm);
    if (!Number.isFinite(norm)) return { skipped: true, norm, clip: 1 };

    for (const group of new Set(slices.map((slice) => slice.group))) {
      this.#steps.set(group, this.#steps.get(group)! + 1);
    }
    const { beta1, beta2, epsilon, weightDecay } = this.#options;
    for (const { spec, group, kernels, address, bytes } of slices) {
      const step = this.#steps.get(group)!;
      kernels.adamw(
        address.values!,
        address.gradients!,
        address.firstMoments!,
        address.secondMoments!,
        bytes,
        gradientScale * clip,
        1 - beta1,
        beta2,
        1 - beta2,
        spec.decay ? 1 - learningRate * weightDecay : 1,
        learningRate / (1 - beta1 ** step),
        1 / Math.sqrt(1 - beta2 ** step),
        epsilon,
      );
    }
    return { skipped: false, norm, clip };
  }

  /** The step counts. The moments are the arena's `firstMoments` and `secondMoments`. */
  state(): AdamWState {
    return { steps: Object.fromEntries(this.#steps) };
  }

  /**
   * Continues from a saved state. Restore the arena's values and moments too.
   *
   * @throws failed_precondition when the groups differ; data_corrupt for a count that is none
   */
  restore(state: AdamWState): void {
    const saved = Object.keys(state.steps).sort().join(', ');
    const own = [...this.#steps.keys()].sort().join(', ');
    if (saved !== own) {
      throw new ClipGenError('failed_precondition', `optimiser state has groups ${saved}; this model has ${own}`);
    }
    for (const [group, step] of Object.entries(state.steps)) {
      if (!Number.isSafeInteger(step) || step < 0) {
        throw new ClipGenError('data_corrupt', `steps of group ${group} must be a non-negative integer; got ${step}`);
      }
    }
    for (const [group, step] of Object.entries(state.steps)) this.#steps.set(group, step);
  }
}
