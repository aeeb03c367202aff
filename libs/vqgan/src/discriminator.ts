import { invalidArgument } from '@clip-gen/errors';
import { leakyRelu, type Value } from '@clip-gen/graph';
import { batchNorm, conv2d, type Scope } from '@clip-gen/nn';

const PADS = [1, 1, 1, 1] as const;

/** Batch statistics of one BatchNorm, for the running averages. */
export interface BatchStatistics {
  /** `discriminator.features.3` */
  readonly module: string;
  /** (1, C, 1, 1) */
  readonly mean: Value;
  /** 1/√(variance + 1e-5), the variance biased, (1, C, 1, 1) */
  readonly inverseStd: Value;
  /** Number of values behind each statistic. */
  readonly count: number;
}

/** Sizes of the discriminator, and who learns its statistics. */
export interface DiscriminatorOptions {
  /** Convolutions with BatchNorm; all but the last halve the side. Default 3: a patch of 70 × 70 pixels. */
  readonly layers?: number;
  /** Channels after the first convolution; default 64. */
  readonly channels?: number;
  /** Receives the batch statistics of each BatchNorm, in order, when given. */
  readonly statistics?: BatchStatistics[];
}

/**
 * PatchGAN (Isola et al., arXiv 1611.07004): pixels (B, 3, S, S) → a logit for each overlapping patch (B, 1, h, w),
 * large for real. BatchNorm uses the batch's statistics, as in training; real and fake pixels go through in calls of
 * their own.
 *
 * @throws invalid_argument naming the side that is needed when a picture is smaller
 */
export function discriminate(scope: Scope, pixels: Value, options: DiscriminatorOptions = {}): Value {
  const { layers = 3, channels = 64, statistics = [] } = options;
  // Each halving convolution floors, each of the others takes one away; one logit must be left.
  const needed = (layers === 0 ? 2 : 3) * 2 ** Math.max(layers, 1);
  if (pixels.shape.slice(2).some((side) => typeof side !== 'number' || side < needed)) {
    const got = pixels.shape.slice(2).join('x');
    throw invalidArgument('pixels', `${needed}x${needed} or larger for ${layers} discriminator layers`, got);
  }
  const discriminator = scope.child('discriminator');
  const features = discriminator.child('features');
  let x = leakyRelu(conv2d(features.child(0), pixels, channels, 4, { stride: 2, pads: PADS }), 0.2);
  for (let i = 1; i <= layers; i++) {
    const index = 3 * i - 1;
    const out = channels * Math.min(2 ** i, 8);
    x = conv2d(features.child(index), x, out, 4, { stride: i < layers ? 2 : 1, pads: PADS, bias: false });
    const norm = features.child(index + 1);
    const [y, mean, inverseStd] = batchNorm(norm, x) as [Value, Value, Value];
    const [batch, , height, width] = x.shape as [number, number, number, number];
    statistics.push({ module: norm.prefix.slice(0, -1), mean, inverseStd, count: batch * height * width });
    x = leakyRelu(y, 0.2);
  }
  return conv2d(discriminator.child('head'), x, 1, 4, { pads: PADS });
}
