import type { BlockFormat, QuantizedLocation } from '@clip-gen/graph';
import type { TensorEntry } from '@clip-gen/safetensors';
import type { DType } from '@clip-gen/tensor';
import { blockBytes, blocksOf, PACKED_SUFFIX, SCALES_SUFFIX } from './block-format.ts';

/** A tensor that a file must hold. */
export interface StoredTensor {
  readonly name: string;
  /** It may have any of these. */
  readonly dtypes: readonly DType[];
  readonly shape: readonly number[];
}

/** The two tensors of a matrix (N, K) in blocks: uint8 (N, blocks, bytes of a block) and float32 (N, blocks). */
export function quantizedForm(name: string, shape: readonly [number, number], format: BlockFormat) {
  const [rows, columns] = shape;
  const blocks = blocksOf(columns, format);
  return {
    packed: { name: name + PACKED_SUFFIX, dtypes: ['uint8'], shape: [rows, blocks, blockBytes(format)] },
    scales: { name: name + SCALES_SUFFIX, dtypes: ['float32'], shape: [rows, blocks] },
  } as const satisfies Record<string, StoredTensor>;
}

/**
 * The tensors that a file must hold for a weight which it has in blocks; undefined when it has it as numbers, or not at all.
 *
 * @param entries of the file
 */
export function blocksForm(
  entries: ReadonlyMap<string, TensorEntry>,
  weight: { readonly name: string; readonly shape: readonly number[] },
  format: BlockFormat,
): readonly StoredTensor[] | undefined {
  const { name, shape } = weight;
  if (entries.has(name) || !entries.has(name + PACKED_SUFFIX) || shape.length !== 2) return undefined;
  const { packed, scales } = quantizedForm(name, shape as [number, number], format);
  return [packed, scales];
}

/** Where a weight's integers and scales lie in a file that has it in blocks; undefined when it has it as numbers. */
export function quantizedLocation(
  file: string,
  entries: ReadonlyMap<string, TensorEntry>,
  name: string,
  format: BlockFormat,
): QuantizedLocation | undefined {
  const [packed, scales] = [entries.get(name + PACKED_SUFFIX), entries.get(name + SCALES_SUFFIX)];
  if (!packed || !scales) return undefined;
  const range = ({ byteOffset, byteLength }: TensorEntry) => ({ file, byteOffset, byteLength });
  return { ...format, packed: range(packed), scales: range(scales) };
}
