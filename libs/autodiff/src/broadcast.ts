import { reduceSum, reshape, staticShape, type Value } from '@clip-gen/graph';

/** Sums a gradient over the axes along which `like` was broadcast, so that it has the shape of `like`. */
export function unbroadcast(gradient: Value, like: Value): Value {
  const target = like.shape;
  const lead = gradient.shape.length - target.length;
  const axes: number[] = [];
  gradient.shape.forEach((dim, i) => {
    if (i < lead || (target[i - lead] === 1 && dim !== 1)) axes.push(i);
  });
  if (axes.length === 0) return gradient;
  return reshape(reduceSum(gradient, axes, true), staticShape(target, 'unbroadcast'));
}
