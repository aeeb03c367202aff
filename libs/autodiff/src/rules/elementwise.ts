import { ClipGenError } from '@clip-gen/errors';
import {
  add,
  cast,
  div,
  equal,
  exp,
  floatAttribute,
  greater,
  less,
  mul,
  neg,
  pow,
  sigmoid,
  sign,
  sub,
  where,
  type Value,
} from '@clip-gen/graph';
import { unbroadcast } from '../broadcast.ts';
import type { GradientRule } from '../rule.ts';

type Unary = (x: Value, y: Value, dy: Value) => Value;
type Binary = (a: Value, b: Value, dy: Value, y: Value) => readonly [() => Value, () => Value];

/** A rule of one input from dx = f(x, y, dy). */
function unary(f: Unary): GradientRule {
  return (node, [dy]) => [f(node.inputs[0]!, node.outputs[0]!, dy!)];
}

/** A rule of two broadcasting inputs; each side is computed only when it is needed. */
function binary(f: Binary): GradientRule {
  return (node, [dy], needs) => {
    const [a, b] = [node.inputs[0]!, node.inputs[1]!];
    const sides = f(a, b, dy!, node.outputs[0]!);
    return [needs[0] ? unbroadcast(sides[0](), a) : null, needs[1] ? unbroadcast(sides[1](), b) : null];
  };
}

/** Gradients of element-wise operators, by operator; broadcast operands get theirs summed back to their own shape. */
export const elementwiseRules = {
  // d(a + b) = da + db
  Add: binary((_a, _b, dy) => [() => dy, () => dy]),
  // d(a − b) = da − db
  Sub: binary((_a, _b, dy) => [() => dy, () => neg(dy)]),
  // d(a·b) = b·da + a·db
  Mul: binary((a, b, dy) => [() => mul(dy, b), () => mul(dy, a)]),
  // d(a/b) = da/b − (a/b)·db/b
  Div: binary((_a, b, dy, y) => [() => div(dy, b), () => neg(div(mul(dy, y), b))]),
  // d(aᵇ) = b·aᵇ⁻¹·da; the exponent is a constant in every model
  Pow: (node, [dy], needs) => {
    const [a, b] = [node.inputs[0]!, node.inputs[1]!];
    if (needs[1]) throw new ClipGenError('failed_precondition', 'Pow has no gradient for its exponent');
    return [unbroadcast(mul(dy!, mul(b, pow(a, sub(b, 1)))), a), null];
  },
  // the larger side takes the gradient; equal sides share it, as in PyTorch
  Max: binary((a, b, dy) => [() => mul(dy, share(greater(a, b), a, b)), () => mul(dy, share(less(a, b), a, b))]),
  Min: binary((a, b, dy) => [() => mul(dy, share(less(a, b), a, b)), () => mul(dy, share(greater(a, b), a, b))]),
  // d|x| = sign(x)·dx
  Abs: unary((x, _y, dy) => mul(dy, sign(x))),
  // d(erf x) = 2/√π·exp(−x²)·dx
  Erf: unary((x, _y, dy) => mul(dy, mul(exp(neg(mul(x, x))), 2 / Math.sqrt(Math.PI)))),
  // d(eˣ) = eˣ·dx
  Exp: unary((_x, y, dy) => mul(dy, y)),
  Identity: unary((_x, _y, dy) => dy),
  // d(log x) = dx/x
  Log: unary((x, _y, dy) => div(dy, x)),
  Neg: unary((_x, _y, dy) => neg(dy)),
  // d(relu x) = dx where x > 0
  Relu: unary((x, _y, dy) => mul(dy, cast(greater(x, 0), 'float32'))),
  LeakyRelu: (node, [dy]) => {
    const alpha = floatAttribute(node.attributes, 'alpha', 0.01);
    // slope = alpha or 1
    const slope = add(mul(cast(greater(node.inputs[0]!, 0), 'float32'), 1 - alpha), alpha);
    return [mul(dy!, slope)];
  },
  // dσ = σ(1 − σ)·dx
  Sigmoid: unary((_x, y, dy) => mul(dy, sub(y, mul(y, y)))),
  // d(softplus x) = σ(x)·dx
  Softplus: unary((x, _y, dy) => mul(dy, sigmoid(x))),
  // d(√x) = dx/(2√x)
  Sqrt: unary((_x, y, dy) => div(mul(dy, 0.5), y)),
  // d(tanh x) = (1 − tanh²)·dx
  Tanh: unary((_x, y, dy) => mul(dy, sub(1, mul(y, y)))),
  // the gradient passes where nothing was clipped (bounds included)
  Clip: (node, [dy]) => {
    const [x, y] = [node.inputs[0]!, node.outputs[0]!];
    return [mul(dy!, cast(equal(x, y), 'float32')), null, null];
  },
  // the gradient has the dtype of the value before the cast
  Cast: (node, [dy]) => [cast(dy!, node.inputs[0]!.dtype)],
  // the chosen side takes the gradient
  Where: (node, [dy], needs) => {
    const [condition, a, b] = [node.inputs[0]!, node.inputs[1]!, node.inputs[2]!];
    return [
      null,
      needs[1] ? unbroadcast(where(condition, dy!, 0), a) : null,
      needs[2] ? unbroadcast(where(condition, 0, dy!), b) : null,
    ];
  },
} satisfies Record<string, GradientRule>;

function share(wins: Value, a: Value, b: Value): Value {
  return add(cast(wins, 'float32'), mul(cast(equal(a, b), 'float32'), 0.5));
}
