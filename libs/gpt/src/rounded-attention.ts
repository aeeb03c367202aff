import { invalidArgument } from '@clip-gen/errors';
import { int, string, type CachedAttention, type CachedAttentionInputs, type Value } from '@clip-gen/graph';
import { tensor } from '@clip-gen/tensor';

/** A score whose exponential is 0 beside any other. */
const NOTHING = -1e30;

/** One layer's steps: float32 (W) each, see `CacheSteps`. */
export interface RoundedCacheSteps {
  readonly keys: Float32Array;
  readonly values: Float32Array;
}

/**
 * `groupQueryAttention` over keys and values in 8 bits: the new position's are rounded to whole steps of their channels
 * and kept within [−128, 127] of them; queries, scores and sums stay float32. A quarter of the bytes to read.
 *
 * @param packed float32 (B, 1, 3W): q, k, v of the new position
 * @param cache keys and values int8 (B, H, P, D)
 * @throws invalid_argument for another number of steps than W
 */
export function roundedAttention(
  packed: Value,
  cache: CachedAttentionInputs,
  steps: RoundedCacheSteps,
): CachedAttention {
  const { pastKeys, pastValues, positions, total } = cache;
  const { graph } = packed;
  const [batch, heads, , size] = pastKeys.shape as [number | string, number, number | string, number];
  const width = heads * size;
  const constant = (name: 'keys' | 'values'): Value => {
    if (steps[name].length !== width) throw invalidArgument(`steps.${name}`, `${width} steps`, steps[name].length);
    return graph.constant(tensor('float32', [width], steps[name]));
  };
  // A sink that draws no attention: with one the kernel computes all scores and then one softmax, which for a single
  // query takes four fifths of the time that going through the cache in tiles does.
  const sink = graph.constant(tensor('float32', [heads], new Float32Array(heads).fill(NOTHING)));
  // Three inputs for rotary embeddings and a bias stand between the total and the sink.
  const unused = [null, null, null, null, sink] as const;
  const [mixed, keys, values] = graph.emit(
    'GroupQueryAttention',
    [packed, null, null, pastKeys, pastValues, positions, total, ...unused, constant('keys'), constant('values')],
    {
      num_heads: int(heads),
      kv_num_heads: int(heads),
      k_quant_type: string('PER_CHANNEL'),
      v_quant_type: string('PER_CHANNEL'),
      kv_cache_bit_width: int(8),
    },
    [
      { dtype: 'float32', shape: [batch, 1, width] },
      { dtype: 'int8', shape: pastKeys.shape },
      { dtype: 'int8', shape: pastValues.shape },
    ],
  ) as [Value, Value, Value];
  return { mixed, keys, values };
}
