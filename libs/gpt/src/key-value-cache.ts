import type { Dim } from '@clip-gen/graph';
import { emptyTensor, type Tensor } from '@clip-gen/tensor';
import type { GptConfig } from './config.ts';

/**
 * What one step of the 8-bit integers stands for that keys and values are kept in, by {@link cacheNames}: float32 (W)
 * each, positive, one a channel. A key or value is its integer times its channel's step.
 */
export type CacheSteps = ReadonlyMap<string, Float32Array>;

/** How the numbers of a cache are kept: as they are, or as 8-bit integers of known steps. */
export type CacheType = 'float32' | 'int8';

/** Names of the cache's tensors: keys and values of each layer. */
export function cacheNames(config: GptConfig): string[] {
  return Array.from({ length: config.layers }, (_, i) => [`keys.${i}`, `values.${i}`]).flat();
}

/**
 * Shape of each of the cache's tensors for `batch` rows: (B, H, P, D).
 *
 * @param room positions P that it has room for; default T, all
 */
export function cacheShape<B extends Dim, P extends Dim = number>(
  config: GptConfig,
  batch: B,
  room: P = config.tokens as P,
): [B, number, P, number] {
  return [batch, config.heads, room, config.width / config.heads];
}

/** An empty cache for `batch` rows, by {@link cacheNames}. The caller's; a row at position 0 needs no clearing. */
export function emptyCache(config: GptConfig, batch: number): Map<string, Tensor<'float32'>> {
  return new Map(cacheNames(config).map((name) => [name, emptyTensor('float32', cacheShape(config, batch))]));
}
