import { ClipGenError } from '@clip-gen/errors';
import type { DType } from '@clip-gen/tensor';
import type { OutputSpec } from '../graph-builder.ts';
import type { Attributes } from '../attribute.ts';
import type { OpType } from '../op-type.ts';
import type { Shape } from '../dim.ts';
import { showShape } from '../dim.ts';
import type { Value } from '../value.ts';

/** A value, or a number that becomes a scalar constant of the other operand's dtype. */
export type Operand = Value | number;

/** Emits a node of one output. */
export function emitOne(
  op: OpType,
  inputs: readonly [Value, ...(Value | null)[]],
  attributes: Attributes,
  dtype: DType,
  shape: Shape,
): Value {
  return first(inputs[0].graph.emit(op, inputs, attributes, [{ dtype, shape } satisfies OutputSpec]));
}

/** The only result of a node. */
export function first(values: readonly Value[]): Value {
  const value = values[0];
  if (!value) throw new ClipGenError('internal', 'a node without outputs');
  return value;
}

/** @throws invalid_argument unless `value` has one of the dtypes */
export function requireDType(op: string, value: Value, ...dtypes: readonly DType[]): void {
  if (!dtypes.includes(value.dtype)) {
    throw new ClipGenError(
      'invalid_argument',
      `${op}: ${value.name} must be ${dtypes.join(' or ')}; got ${value.dtype}`,
    );
  }
}

/** @throws invalid_argument unless both have the same dtype */
export function requireSameDType(op: string, a: Value, b: Value): void {
  if (a.dtype !== b.dtype) {
    throw new ClipGenError('invalid_argument', `${op}: dtypes must agree; got ${a.dtype} and ${b.dtype}`);
  }
}

/** @throws invalid_argument unless `value` has `rank` dimensions */
export function requireRank(op: string, value: Value, rank: number): void {
  if (value.shape.length !== rank) {
    throw new ClipGenError(
      'invalid_argument',
      `${op}: ${value.name} must have ${rank} dimensions; got shape ${showShape(value.shape)}`,
    );
  }
}

/** @throws invalid_argument unless the dimension sizes agree */
export function requireSameDim(op: string, a: Value, axisOfA: number, b: Value, axisOfB: number): void {
  if (a.shape[axisOfA] !== b.shape[axisOfB]) {
    throw new ClipGenError(
      'invalid_argument',
      `${op}: dimension ${axisOfA} of ${showShape(a.shape)} must equal dimension ${axisOfB} of ${showShape(b.shape)}`,
    );
  }
}
