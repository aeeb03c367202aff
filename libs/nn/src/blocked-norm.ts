import { add, div, max, mul, reduceMean, reshape, sqrt, sub, type Value } from '@clip-gen/graph';
import { blockedConv } from './blocked-convolution.ts';
import { ones, zeros } from './initializer.ts';
import type { GroupNormSizes } from './map-layers.ts';
import type { Scope } from './scope.ts';

/**
 * GroupNorm of a map in blocks, (1, C, H, W): two reductions to means and mean squares of each channel, a dozen
 * operations on these, and one pass over the map, a depthwise 1 × 1 convolution whose weights are computed. Sums are
 * taken over rows first and then over columns, so that no term meets one that is thousands of times larger: what
 * E[x²] − E[x]² cancels costs little.
 */
export function blockedGroupNorm(scope: Scope, x: Value, { groups, epsilon = 1e-5 }: GroupNormSizes, block: number) {
  const [, channels, height, width] = x.shape as [1, number, number, number];
  const weight = scope.parameter('weight', [channels], ones);
  const bias = scope.parameter('bias', [channels], zeros);
  const each = channels / groups;
  const means = (map: Value): Value => {
    const rows = reshape(map, [channels / block, height, width, block]);
    const lanes = reduceMean(reduceMean(rows, [2]), [1]); // (C/block, block)
    return reduceMean(reshape(lanes, [groups, each]), [1], true); // (G, 1)
  };
  const mean = means(x);
  const variance = max(sub(means(mul(x, x)), mul(mean, mean)), 0);
  const inverse = div(1, sqrt(add(variance, epsilon)));
  const scale = mul(inverse, reshape(weight, [groups, each])); // (G, C/G)
  const shift = sub(reshape(bias, [groups, each]), mul(mean, scale));
  return blockedConv(x, reshape(scale, [channels, 1, 1, 1]), reshape(shift, [channels]), {
    pads: [0, 0, 0, 0],
    group: channels,
  });
}
