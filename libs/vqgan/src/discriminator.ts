import { leakyRelu, type Value } from '@clip-gen/graph';
import { batchNorm, conv2d, type Scope } from '@clip-gen/nn';

const CHANNELS = 64;
const LAYERS = 3;
const PADS = [1, 1, 1, 1] as const;

/** Batch statistics of one BatchNorm, for the running averages. */
export interface BatchStatistics {
  /** `discriminator.features.3` */
  readonly module: string;
  /** (1, C, 1, 1) */
  readonly mean: Value;
  /** 1/√(variance + 1e-5), (1, C, 1, 1) */
  readonly inverseStd: Value;
  /** Number of values behind each statistic. */
  readonly count: number;
}

/**
 * PatchGAN (Isola et al., arXiv 1611.07004): pixels (B, 3, S, S) → a logit for each overlapping patch (B, 1, h, w),
 * large for real. BatchNorm uses the batch's statistics, as in training.
 */
export function discriminate(scope: Scope, pixels: Value, statistics: BatchStatistics[] = []): Value {
  const discriminator = scope.child('discriminator');
  const features = discriminator.child('features');
  let x = leakyRelu(conv2d(features.child(0), pixels, CHANNELS, 4, { stride: 2, pads: PADS }), 0.2);
  for (let i = 1; i <= LAYERS; i++) {
    const index = 3 * i - 1;
    const out = CHANNELS * Math.min(2 ** i, 8);
    x = conv2d(features.child(index), x, out, 4, { stride: i < LAYERS ? 2 : 1, pads: PADS, bias: false });
    const norm = features.child(index + 1);
    const [y, mean, inverseStd] = batchNorm(norm, x) as [Value, Value, Value];
    const [batch, , height, width] = x.shape as [number, number, number, number];
    statistics.push({ module: norm.prefix.slice(0, -1), mean, inverseStd, count: batch * height * width });
    x = leakyRelu(y, 0.2);
  }
  return conv2d(discriminator.child('head'), x, 1, 4, { pads: PADS });
}
