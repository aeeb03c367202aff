import { ClipGenError } from '@clip-gen/errors';
import type { Value } from '@clip-gen/graph';

/** The numbers of an int64 constant, as shapes and axes are given to operators. */
export function constantInts(value: Value): number[] {
  for (const { value: candidate, data } of value.graph.constants.values()) {
    if (candidate.name === value.name && data.dtype === 'int64') return [...(data.data as BigInt64Array)].map(Number);
  }
  throw new ClipGenError('internal', `${value.name} is not an int64 constant`);
}
