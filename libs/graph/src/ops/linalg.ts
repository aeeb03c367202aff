import { ClipGenError } from '@clip-gen/errors';
import { float, int } from '../attribute.ts';
import { broadcastShapes, showShape } from '../dim.ts';
import type { Value } from '../value.ts';
import { emitOne, requireDType, requireRank } from './check.ts';

/** ai.onnx@13::MatMul of (..., M, K) and (..., K, N); leading dimensions broadcast. Both need at least 2 dimensions. */
export function matMul(a: Value, b: Value): Value {
  const shape = productShape('MatMul', a, b, false, false);
  return emitOne('MatMul', [a, b], {}, a.dtype, shape);
}

/** com.microsoft@1::FusedMatMul: alpha · op(a) · op(b), op transposing the last two dimensions. */
export function fusedMatMul(
  a: Value,
  b: Value,
  options: { transA?: boolean; transB?: boolean; alpha?: number } = {},
): Value {
  const { transA = false, transB = false, alpha = 1 } = options;
  const shape = productShape('FusedMatMul', a, b, transA, transB);
  const attributes = { transA: int(Number(transA)), transB: int(Number(transB)), alpha: float(alpha) };
  return emitOne('FusedMatMul', [a, b], attributes, a.dtype, shape);
}

function productShape(op: string, a: Value, b: Value, transA: boolean, transB: boolean) {
  requireDType(op, a, 'float32');
  requireDType(op, b, 'float32');
  if (a.shape.length < 2 || b.shape.length < 2) {
    throw new ClipGenError(
      'invalid_argument',
      `${op} needs 2 dimensions or more; got ${showShape(a.shape)} and ${showShape(b.shape)}`,
    );
  }
  const [rows, inner] = lastTwo(a, transA);
  const [innerB, columns] = lastTwo(b, transB);
  if (inner !== innerB) {
    throw new ClipGenError(
      'invalid_argument',
      `${op}: inner dimensions must agree; got ${showShape(a.shape)}${transA ? 'ᵀ' : ''} and ${showShape(b.shape)}${transB ? 'ᵀ' : ''}`,
    );
  }
  return [...broadcastShapes(a.shape.slice(0, -2), b.shape.slice(0, -2), op), rows, columns];
}

function lastTwo(x: Value, transposed: boolean) {
  const [m, n] = [x.shape.at(-2)!, x.shape.at(-1)!];
  return transposed ? ([n, m] as const) : ([m, n] as const);
}

/**
 * ai.onnx@13::Gemm: alpha · op(a) · op(b) + beta · c for matrices; `c` broadcasts to (M, N).
 * PyTorch's Linear is `gemm(x, weight, bias, { transB: true })`.
 */
export function gemm(
  a: Value,
  b: Value,
  c: Value | null = null,
  options: { transA?: boolean; transB?: boolean; alpha?: number; beta?: number } = {},
): Value {
  const { transA = false, transB = false, alpha = 1, beta = 1 } = options;
  requireRank('Gemm', a, 2);
  requireRank('Gemm', b, 2);
  const shape = productShape('Gemm', a, b, transA, transB);
  if (c) {
    requireDType('Gemm', c, 'float32');
    broadcastShapes(shape, c.shape, 'Gemm bias');
  }
  const attributes = {
    transA: int(Number(transA)),
    transB: int(Number(transB)),
    alpha: float(alpha),
    beta: float(beta),
  };
  return emitOne('Gemm', c ? [a, b, c] : [a, b], attributes, a.dtype, shape);
}
