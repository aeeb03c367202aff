import type { BlockFormat } from '@clip-gen/graph';
import { z } from 'zod';

/** Bits that a weight may take. */
export type QuantizedBits = 4 | 8;

/** The blocks in which weights are stored: fewer bits need scales that reach less far. */
export const BLOCK_FORMATS: Readonly<Record<QuantizedBits, BlockFormat>> = {
  8: { bits: 8, blockSize: 128 },
  4: { bits: 4, blockSize: 32 },
};

/** `quantization` of a network's `config.json`: how the matrices of its linear layers are stored. */
export const blockFormatSchema = z.strictObject({
  bits: z.union([z.literal(4), z.literal(8)]),
  /** Weights of a row that share a scale. */
  blockSize: z.union([z.literal(16), z.literal(32), z.literal(64), z.literal(128), z.literal(256)]),
});

/** What stands behind a weight's name for its integers: uint8 (N, blocks, bytes of a block). */
export const PACKED_SUFFIX = '.packed';
/** What stands behind a weight's name for its scales: float32 (N, blocks). */
export const SCALES_SUFFIX = '.scales';

/** Integers in [−2^(bits−1), 2^(bits−1)) stand for a weight; they are stored with 2^(bits−1) added. */
export function zeroPoint({ bits }: BlockFormat): number {
  return 2 ** (bits - 1);
}

/** Blocks of a row of `columns` weights; the last may be part empty. */
export function blocksOf(columns: number, { blockSize }: BlockFormat): number {
  return Math.ceil(columns / blockSize);
}

/** Bytes of one block's integers. */
export function blockBytes({ bits, blockSize }: BlockFormat): number {
  return (bits * blockSize) / 8;
}
