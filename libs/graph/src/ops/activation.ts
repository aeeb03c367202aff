import { float } from '../attribute.ts';
import type { Value } from '../value.ts';
import { first } from './check.ts';
import { add, erf, identity, mul, sigmoid } from './elementwise.ts';

/** Exact GELU, x·Φ(x) (Hendrycks and Gimpel, arXiv 1606.08415), by the error function. */
export function gelu(x: Value): Value {
  return first(
    x.graph.compose('Gelu', [x], {}, () => {
      const phi = mul(add(erf(mul(x, Math.SQRT1_2)), 1), 0.5); // Φ(x)
      return [mul(x, phi), phi];
    }),
  );
}

/** x·σ(alpha·x): CLIP's QuickGELU for alpha = 1.702, SiLU for alpha = 1. Second result: σ(alpha·x). */
export function quickGelu(x: Value, alpha = 1.702): Value {
  return first(
    x.graph.compose('QuickGelu', [x], { alpha: float(alpha) }, () => {
      const gate = sigmoid(alpha === 1 ? x : mul(x, alpha));
      return [mul(x, gate), gate];
    }),
  );
}

/** x·σ(x). */
export const silu = (x: Value): Value => quickGelu(x, 1);

/** The value, through which no gradient flows. */
export function stopGradient(x: Value): Value {
  return first(x.graph.compose('StopGradient', [x], {}, () => [identity(x)]));
}

/**
 * The straight-through estimator (Bengio et al., arXiv 1308.3432): the value of `hard`, the gradient of `soft`.
 * Both have the same shape.
 */
export function straightThrough(soft: Value, hard: Value): Value {
  return first(soft.graph.compose('StraightThrough', [soft, hard], {}, () => [identity(hard)]));
}
