import { ClipGenError } from '@clip-gen/errors';
import { ONNX_ELEMENT_TYPE } from '@clip-gen/onnx-proto';
import type { DType } from '@clip-gen/tensor';
import { float, int } from '../attribute.ts';
import { broadcastShapes } from '../dim.ts';
import type { OpType } from '../op-type.ts';
import type { Value } from '../value.ts';
import { emitOne, requireDType, requireSameDType, type Operand } from './check.ts';

function pair(op: OpType, a: Operand, b: Operand): [Value, Value] {
  if (typeof a === 'number') {
    if (typeof b === 'number') throw new ClipGenError('invalid_argument', `${op}: one operand must be a value`);
    return [b.graph.scalar(a, b.dtype), b];
  }
  return [a, typeof b === 'number' ? a.graph.scalar(b, a.dtype) : b];
}

function binary(op: OpType, left: Operand, right: Operand, result?: DType): Value {
  const [a, b] = pair(op, left, right);
  requireSameDType(op, a, b);
  return emitOne(op, [a, b], {}, result ?? a.dtype, broadcastShapes(a.shape, b.shape, op));
}

function unary(op: OpType, x: Value): Value {
  return emitOne(op, [x], {}, x.dtype, x.shape);
}

/** ai.onnx@14::Add, with broadcasting. */
export const add = (a: Operand, b: Operand): Value => binary('Add', a, b);
/** ai.onnx@14::Sub, with broadcasting. */
export const sub = (a: Operand, b: Operand): Value => binary('Sub', a, b);
/** ai.onnx@14::Mul, with broadcasting. */
export const mul = (a: Operand, b: Operand): Value => binary('Mul', a, b);
/** ai.onnx@14::Div, with broadcasting. */
export const div = (a: Operand, b: Operand): Value => binary('Div', a, b);
/** ai.onnx@15::Pow, with broadcasting. The gradient flows to the base alone. */
export const pow = (a: Operand, b: Operand): Value => binary('Pow', a, b);
/** ai.onnx@13::Max of two, with broadcasting. */
export const max = (a: Operand, b: Operand): Value => binary('Max', a, b);
/** ai.onnx@13::Min of two, with broadcasting. */
export const min = (a: Operand, b: Operand): Value => binary('Min', a, b);
/** ai.onnx@13::Equal → bool. */
export const equal = (a: Operand, b: Operand): Value => binary('Equal', a, b, 'bool');
/** ai.onnx@13::Greater → bool. */
export const greater = (a: Operand, b: Operand): Value => binary('Greater', a, b, 'bool');
/** ai.onnx@13::Less → bool. */
export const less = (a: Operand, b: Operand): Value => binary('Less', a, b, 'bool');

/** ai.onnx@13::Abs */
export const abs = (x: Value): Value => unary('Abs', x);
/** ai.onnx@7::Cos */
export const cos = (x: Value): Value => unary('Cos', x);
/** ai.onnx@13::Erf */
export const erf = (x: Value): Value => unary('Erf', x);
/** ai.onnx@13::Exp */
export const exp = (x: Value): Value => unary('Exp', x);
/** ai.onnx@14::Identity */
export const identity = (x: Value): Value => unary('Identity', x);
/** ai.onnx@13::Log */
export const log = (x: Value): Value => unary('Log', x);
/** ai.onnx@13::Neg */
export const neg = (x: Value): Value => unary('Neg', x);
/** ai.onnx@14::Relu */
export const relu = (x: Value): Value => unary('Relu', x);
/** ai.onnx@13::Sigmoid */
export const sigmoid = (x: Value): Value => unary('Sigmoid', x);
/** ai.onnx@13::Sign */
export const sign = (x: Value): Value => unary('Sign', x);
/** ai.onnx@1::Softplus, log(1 + exp(x)) */
export const softplus = (x: Value): Value => unary('Softplus', x);
/** ai.onnx@13::Sqrt */
export const sqrt = (x: Value): Value => unary('Sqrt', x);
/** ai.onnx@13::Tanh */
export const tanh = (x: Value): Value => unary('Tanh', x);

/** ai.onnx@16::LeakyRelu */
export function leakyRelu(x: Value, alpha = 0.01): Value {
  return emitOne('LeakyRelu', [x], { alpha: float(alpha) }, x.dtype, x.shape);
}

/** ai.onnx@13::Clip to [low, high]. */
export function clip(x: Value, low: number, high: number): Value {
  if (!(low <= high)) throw new ClipGenError('invalid_argument', `Clip: low must be <= high; got ${low} and ${high}`);
  return emitOne('Clip', [x, x.graph.scalar(low, x.dtype), x.graph.scalar(high, x.dtype)], {}, x.dtype, x.shape);
}

/** ai.onnx@19::Cast */
export function cast(x: Value, dtype: DType): Value {
  return x.dtype === dtype ? x : emitOne('Cast', [x], { to: int(ONNX_ELEMENT_TYPE[dtype]) }, dtype, x.shape);
}

/** ai.onnx@16::Where: `condition ? a : b`, with broadcasting. */
export function where(condition: Value, left: Operand, right: Operand): Value {
  requireDType('Where', condition, 'bool');
  const [a, b] = pair('Where', left, right);
  requireSameDType('Where', a, b);
  const shape = broadcastShapes(condition.shape, broadcastShapes(a.shape, b.shape, 'Where'), 'Where');
  return emitOne('Where', [condition, a, b], {}, a.dtype, shape);
}
