import { add, exp, floatAttribute, mul, sub, type Value } from '@clip-gen/graph';
import type { GradientRule } from '../rule.ts';

/** Gradients of activation functions, by operator. */
export const activationRules = {
  // d(x·Φ(x)) = Φ(x) + x·φ(x)
  Gelu: (node, [dy]) => {
    const x = node.inputs[0]!;
    const phi = node.outputs[1]!;
    const density = mul(exp(mul(mul(x, x), -0.5)), 1 / Math.sqrt(2 * Math.PI));
    return [mul(dy!, add(phi, mul(x, density)))];
  },
  // y = x·s, s = σ(αx); dy/dx = s + α·y·(1 − s)
  QuickGelu: (node, [dy]) => {
    const alpha = floatAttribute(node.attributes, 'alpha', 1);
    const [y, s] = node.outputs as readonly [Value, Value];
    const tail = sub(y, mul(y, s));
    return [mul(dy!, add(s, alpha === 1 ? tail : mul(tail, alpha)))];
  },
  // the gradient goes to the soft value, as if the hard one were it
  StraightThrough: (_node, [dy]) => [dy!, null],
} satisfies Record<string, GradientRule>;
