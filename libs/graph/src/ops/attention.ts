import { ClipGenError } from '@clip-gen/errors';
import { int } from '../attribute.ts';
import { sameShape, showShape, staticDim, type Dim } from '../dim.ts';
import type { Value } from '../value.ts';
import { requireDType, requireRank } from './check.ts';

/** What one cached step reads beside its query, key and value. */
export interface CachedAttentionInputs {
  /** Keys of the positions so far, float32 (B, H, T, D); rows beyond a row's position are not read. */
  readonly pastKeys: Value;
  /** Values of the positions so far, float32 (B, H, T, D). */
  readonly pastValues: Value;
  /** The position that each row computes now, which is the number of its earlier ones: int32 (B). */
  readonly positions: Value;
  /** The largest of `positions` + 1: int32 (1). */
  readonly total: Value;
}

/** What one cached step gives. */
export interface CachedAttention {
  /** (B, 1, H·D) */
  readonly mixed: Value;
  /** The caches with this position written: (B, H, T, D). One buffer may be both past and present. */
  readonly keys: Value;
  readonly values: Value;
}

/**
 * com.microsoft@1::GroupQueryAttention for one new position a row, every head with its own keys and values: the query
 * attends to the cached positions and to itself, with scale 1/√D. Each row may stand at another position.
 *
 * @param packed float32 (B, 1, 3·H·D): q, k, v of the new position
 */
export function groupQueryAttention(packed: Value, cache: CachedAttentionInputs): CachedAttention {
  const { pastKeys, pastValues, positions, total } = cache;
  const op = 'GroupQueryAttention';
  for (const value of [packed, pastKeys, pastValues]) requireDType(op, value, 'float32');
  for (const value of [positions, total]) requireDType(op, value, 'int32');
  requireRank(op, packed, 3);
  requireRank(op, pastKeys, 4);
  requireRank(op, positions, 1);
  const [batch] = packed.shape;
  const [heads, size] = [staticDim(pastKeys.shape, 1, op), staticDim(pastKeys.shape, 3, op)];
  const expected: readonly (readonly [string, Value, readonly (Dim | undefined)[]])[] = [
    ['packed', packed, [batch, 1, 3 * heads * size]],
    ['pastKeys', pastKeys, [batch, heads, pastKeys.shape[2], size]],
    ['pastValues', pastValues, pastKeys.shape],
    ['positions', positions, [batch]],
    ['total', total, [1]],
  ];
  for (const [name, value, shape] of expected) {
    if (!sameShape(value.shape, shape as readonly Dim[])) {
      throw new ClipGenError(
        'invalid_argument',
        `${op}: ${name} must have shape ${showShape(shape as readonly Dim[])}; got ${showShape(value.shape)}`,
      );
    }
  }
  const outputs = packed.graph.emit(
    op,
    [packed, null, null, pastKeys, pastValues, positions, total],
    { num_heads: int(heads), kv_num_heads: int(heads) },
    [
      { dtype: 'float32', shape: [batch!, 1, heads * size] },
      { dtype: 'float32', shape: pastKeys.shape },
      { dtype: 'float32', shape: pastValues.shape },
    ],
  );
  return { mixed: outputs[0]!, keys: outputs[1]!, values: outputs[2]! };
}
