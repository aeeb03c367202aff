import { ClipGenError } from '@clip-gen/errors';
import { int, string } from '../attribute.ts';
import { normalizeAxis, sameShape, showShape } from '../dim.ts';
import type { Value } from '../value.ts';
import { emitOne, requireDType, requireRank, requireSameDType } from './check.ts';

/** ai.onnx@13::Gather of rows along axis 0, as an embedding does: (N, ...) and indices I → (...I, ...). */
export function gather(table: Value, indices: Value): Value {
  requireDType('Gather', indices, 'int32', 'int64');
  if (table.shape.length === 0) throw new ClipGenError('invalid_argument', 'Gather: the table needs a dimension');
  return emitOne('Gather', [table, indices], { axis: int(0) }, table.dtype, [
    ...indices.shape,
    ...table.shape.slice(1),
  ]);
}

/** ai.onnx@13::GatherElements: out[i][j] = x[i][index[i][j]] for the last axis. */
export function gatherElements(x: Value, indices: Value, axis = -1): Value {
  requireDType('GatherElements', indices, 'int32', 'int64');
  requireRank('GatherElements', indices, x.shape.length);
  const at = normalizeAxis(axis, x.shape.length, 'GatherElements');
  return emitOne('GatherElements', [x, indices], { axis: int(at) }, x.dtype, indices.shape);
}

/**
 * ai.onnx@18::ScatterElements with reduction `add`: x with `updates` added at `indices` of `axis`. An index may occur
 * more than once: ONNX Runtime adds in order on one thread. (Its ScatterND spreads the updates over threads, and then
 * loses some of those that meet: it is not in the vocabulary.)
 */
export function scatterElementsAdd(x: Value, indices: Value, updates: Value, axis = -1): Value {
  requireDType('ScatterElements', indices, 'int32', 'int64');
  requireSameDType('ScatterElements', x, updates);
  requireRank('ScatterElements', indices, x.shape.length);
  if (!sameShape(indices.shape, updates.shape)) {
    throw new ClipGenError(
      'invalid_argument',
      `ScatterElements: indices ${showShape(indices.shape)} and updates ${showShape(updates.shape)} must agree`,
    );
  }
  const at = normalizeAxis(axis, x.shape.length, 'ScatterElements');
  return emitOne(
    'ScatterElements',
    [x, indices, updates],
    { axis: int(at), reduction: string('add') },
    x.dtype,
    x.shape,
  );
}
