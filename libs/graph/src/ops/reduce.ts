import { int } from '../attribute.ts';
import { normalizeAxis, staticSize } from '../dim.ts';
import type { OpType } from '../op-type.ts';
import type { Value } from '../value.ts';
import { emitOne } from './check.ts';

function reduce(op: OpType, x: Value, axes: readonly number[] | undefined, keepDims: boolean): Value {
  const all = axes ?? x.shape.map((_, i) => i);
  const at = all.map((axis) => normalizeAxis(axis, x.shape.length, op)).sort((a, b) => a - b);
  if (at.length === 0) return x;
  const shape = keepDims
    ? x.shape.map((dim, i) => (at.includes(i) ? 1 : dim))
    : x.shape.filter((_, i) => !at.includes(i));
  return emitOne(op, [x, x.graph.int64(at)], { keepdims: int(Number(keepDims)) }, x.dtype, shape);
}

/** ai.onnx@13::ReduceSum over `axes` (all of them by default). */
export function reduceSum(x: Value, axes?: readonly number[], keepDims = false): Value {
  return reduce('ReduceSum', x, axes, keepDims);
}

/** ai.onnx@18::ReduceMean over `axes` (all of them by default). */
export function reduceMean(x: Value, axes?: readonly number[], keepDims = false): Value {
  return reduce('ReduceMean', x, axes, keepDims);
}

/** ai.onnx@13::ArgMax along the axis → int64, without that axis; the first of equals. */
export function argMax(x: Value, axis = -1): Value {
  return arg('ArgMax', x, axis);
}

/** ai.onnx@13::ArgMin along the axis → int64, without that axis; the first of equals. */
export function argMin(x: Value, axis = -1): Value {
  return arg('ArgMin', x, axis);
}

function arg(op: OpType, x: Value, axis: number): Value {
  const at = normalizeAxis(axis, x.shape.length, op);
  return emitOne(
    op,
    [x],
    { axis: int(at), keepdims: int(0) },
    'int64',
    x.shape.filter((_, i) => i !== at),
  );
}

/** Number of elements that a reduction over `axes` folds into one. Static sizes only. */
export function reducedCount(x: Value, axes: readonly number[]): number {
  return staticSize(
    axes.map((axis) => x.shape[normalizeAxis(axis, x.shape.length, 'Reduce')]!),
    'Reduce',
  );
}
