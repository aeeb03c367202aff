import { abs, mul, reduceMean, sub, type Value } from '@clip-gen/graph';

/** Mean absolute difference, a scalar. */
export function l1(a: Value, b: Value): Value {
  return reduceMean(abs(sub(a, b)));
}

/** Mean squared difference, a scalar. */
export function mse(a: Value, b: Value): Value {
  const difference = sub(a, b);
  return reduceMean(mul(difference, difference));
}
