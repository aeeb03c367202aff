import { ClipGenError } from '@clip-gen/errors';

/** What a BatchNorm keeps for inference, one value a channel: `running_mean`, `running_var` of a state dict. */
export interface RunningStatistics {
  readonly mean: Float32Array;
  /** Unbiased. */
  readonly variance: Float32Array;
}

const MOMENTUM = 0.1;
const EPSILON = 1e-5;

/**
 * Moves running averages, in place, a tenth of the way to a batch's statistics, as PyTorch's BatchNorm2d does: the
 * batch normalises by its biased variance, the average takes the unbiased one.
 *
 * @param mean the batch's mean of each channel
 * @param inverseStd 1/√(biased variance + 1e-5) of each channel
 * @param count number of values behind each statistic
 * @throws invalid_argument when the numbers of channels differ or `count` < 2, which has no unbiased variance
 */
export function updateRunningStatistics(
  running: RunningStatistics,
  mean: Float32Array,
  inverseStd: Float32Array,
  count: number,
): void {
  const channels = running.mean.length;
  for (const { length } of [running.variance, mean, inverseStd]) {
    if (length !== channels) {
      throw new ClipGenError('invalid_argument', `statistics must be of ${channels} channels; got ${length}`);
    }
  }
  if (!(count >= 2)) throw new ClipGenError('invalid_argument', `count must be >= 2; got ${count}`);
  const unbias = count / (count - 1);
  for (let c = 0; c < channels; c++) {
    const variance = Math.max(0, inverseStd[c]! ** -2 - EPSILON) * unbias;
    running.mean[c]! += MOMENTUM * (mean[c]! - running.mean[c]!);
    running.variance[c]! += MOMENTUM * (variance - running.variance[c]!);
  }
}
