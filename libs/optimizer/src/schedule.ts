import { invalidArgument } from '@clip-gen/errors';

/** Bounds of a learning rate that rises in a line and falls as half a cosine. */
export interface WarmupCosineOptions {
  /** Highest learning rate, reached at the end of the warm-up. */
  readonly peak: number;
  /** Steps of linear rise; 0 for none. */
  readonly warmupSteps: number;
  /** Steps of the whole run; from there on the rate is `floor`. */
  readonly totalSteps: number;
  /** Lowest learning rate after the warm-up. Default 0. */
  readonly floor?: number;
}

/**
 * A learning rate as a pure function of the step, counted from 0. During warm-up `peak · (step + 1) / warmupSteps`, so
 * that the first step already moves; after it half a cosine from `peak` down to `floor`.
 *
 * @throws invalid_argument for options out of bounds
 */
export function warmupCosine(options: WarmupCosineOptions): (step: number) => number {
  const { peak, warmupSteps, totalSteps, floor = 0 } = options;
  requirePeak(peak);
  if (!(floor >= 0 && floor <= peak)) throw invalidArgument('floor', `in [0, ${peak}]`, floor);
  if (!Number.isSafeInteger(totalSteps) || totalSteps < 1) {
    throw invalidArgument('totalSteps', 'a positive integer', totalSteps);
  }
  if (!Number.isSafeInteger(warmupSteps) || warmupSteps < 0 || warmupSteps >= totalSteps) {
    throw invalidArgument('warmupSteps', `an integer in [0, ${totalSteps})`, warmupSteps);
  }
  return (step) => {
    if (step < warmupSteps) return rising(peak, warmupSteps, step);
    const progress = Math.min(1, (step - warmupSteps) / (totalSteps - warmupSteps));
    return floor + (peak - floor) * 0.5 * (1 + Math.cos(Math.PI * progress));
  };
}

/**
 * The same rise, then `peak` for ever: for runs whose length is not settled.
 *
 * @throws invalid_argument for options out of bounds
 */
export function warmupConstant(options: Pick<WarmupCosineOptions, 'peak' | 'warmupSteps'>): (step: number) => number {
  const { peak, warmupSteps } = options;
  requirePeak(peak);
  if (!Number.isSafeInteger(warmupSteps) || warmupSteps < 0) {
    throw invalidArgument('warmupSteps', 'an integer of at least 0', warmupSteps);
  }
  return (step) => (step < warmupSteps ? rising(peak, warmupSteps, step) : peak);
}

/** The first step already moves; the last of the warm-up has the peak. */
function rising(peak: number, warmupSteps: number, step: number): number {
  return (peak * (step + 1)) / warmupSteps;
}

function requirePeak(peak: number): void {
  if (!(peak > 0 && peak < Infinity)) throw invalidArgument('peak', 'a positive number', peak);
}
