import { add, concat, div, max, mul, reduceSum, reshape, slice, sqrt, sub, type Value } from '@clip-gen/graph';
import { blockedConv } from './blocked-convolution.ts';
import { ones, zeros } from './initializer.ts';
import type { GroupNormSizes } from './map-layers.ts';
import type { Scope } from './scope.ts';
import { edgesOf, mapOfStrips, type StripedMap } from './strips.ts';

/** What a pass over strips is followed by, strip by strip. */
type After = (rows: Value) => Value;

/**
 * GroupNorm of a map in blocks, (1, C, H, W): two reductions of each strip to sums and sums of squares of each channel,
 * a dozen operations on these, and one pass over the map, a depthwise 1 × 1 convolution whose weights are computed. Sums
 * are taken over rows first, then over columns, then over strips, so that no term meets one that is thousands of times
 * larger: what E[x²] − E[x]² cancels costs little.
 */
export function blockedGroupNorm(
  scope: Scope,
  x: StripedMap,
  { groups, epsilon = 1e-5 }: GroupNormSizes,
  block: number,
  after: After = (rows) => rows,
): StripedMap {
  const [, channels, height, width] = x.shape;
  const weight = scope.parameter('weight', [channels], ones);
  const bias = scope.parameter('bias', [channels], zeros);
  const each = channels / groups;
  const sums = x.strips.map(({ from, to, rows }) => stripSums(rows, [channels / block, to - from, width, block]));
  const total = reduceSum(reshape(concat(sums, 0), [sums.length, 2, channels]), [0]); // (2, C)
  const moments = div(reduceSum(reshape(total, [2, groups, each]), [2], true), each * height * width); // (2, G, 1)
  const [mean, square] = [0, 1].map((i) => reshape(slice(moments, 0, i, i + 1), [groups, 1])) as [Value, Value];
  const variance = max(sub(square, mul(mean, mean)), 0);
  const inverse = div(1, sqrt(add(variance, epsilon)));
  const scale = mul(inverse, reshape(weight, [groups, each])); // (G, C/G)
  const shift = reshape(sub(reshape(bias, [groups, each]), mul(mean, scale)), [channels]);
  const factors = reshape(scale, [channels, 1, 1, 1]);
  return mapOfStrips(x.shape, edgesOf(x), (_from, _to, i) =>
    after(blockedConv(x.strips[i]!.rows, factors, shift, { pads: [0, 0, 0, 0], group: channels })),
  );
}

/** Sums and sums of squares of each channel, (2, C). */
function stripSums(rows: Value, lying: readonly number[]): Value {
  const values = reshape(rows, lying); // (C/block, H, W, block)
  const sum = (map: Value): Value => reshape(reduceSum(reduceSum(map, [2]), [1]), [1, lying[0]! * lying[3]!]);
  return concat([sum(values), sum(mul(values, values))], 0);
}
