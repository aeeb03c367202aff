import { add, div, mul, reduceMean, reduceSum, sqrt, sub, type Value } from '@clip-gen/graph';

/**
 * A perceptual distance in the manner of LPIPS (Zhang et al., arXiv 1801.03924) without learned weights: features of
 * each layer scaled to unit length along their last dimension, mean squared difference summed over it, averaged over
 * positions, layers and pictures.
 *
 * @param a features of one layer each, (B, T, W)
 * @param b the same layers of the other picture
 * @returns a scalar
 */
export function featureDistance(a: readonly Value[], b: readonly Value[]): Value {
  const layers = a.map((feature, i) => {
    const difference = sub(unit(feature), unit(b[i]!));
    return reduceMean(reduceSum(mul(difference, difference), [-1]));
  });
  return div(
    layers.reduce((sum, layer) => add(sum, layer)),
    layers.length,
  );
}

function unit(x: Value): Value {
  return div(x, sqrt(add(reduceSum(mul(x, x), [-1], true), 1e-10)));
}
