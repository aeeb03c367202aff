import { ClipGenError, invalidArgument } from '@clip-gen/errors';
import { int } from '../attribute.ts';
import { sameShape, showShape, staticShape } from '../dim.ts';
import type { Value } from '../value.ts';
import { emitOne, requireDType, requireRank } from './check.ts';

/** How a matrix of integers is laid out and multiplied. */
export interface QuantizedProductOptions {
  /** Columns K of the matrix; its last block may be longer. */
  readonly columns: number;
  /** Bits of a weight. */
  readonly bits: 4 | 8;
  /**
   * 4 (default): each block of `a` is rounded to 8 bits too, and integers are multiplied. 0: the kernel's own choice, which
   * on a CPU widens the weights to float32: exact and slow.
   */
  readonly accuracyLevel?: 0 | 4;
}

/**
 * com.microsoft@1::MatMulNBits: a · Wᵀ + bias for a matrix W (N, K) of small integers with a scale for each block of a row,
 * W[n, k] = (q − 2^(bits−1)) · scale. No gradient.
 *
 * @param a float32 (M, K)
 * @param packed uint8 (N, blocks, bytes of a block), the first weight in the lowest bits
 * @param scales float32 (N, blocks)
 * @param bias float32 (N), or null
 * @returns float32 (M, N)
 * @throws invalid_argument when the shapes do not fit
 */
export function matMulNBits(
  a: Value,
  packed: Value,
  scales: Value,
  bias: Value | null,
  options: QuantizedProductOptions,
): Value {
  const op = 'MatMulNBits';
  const { columns, bits, accuracyLevel = 4 } = options;
  for (const value of bias ? [a, scales, bias] : [a, scales]) requireDType(op, value, 'float32');
  requireDType(op, packed, 'uint8');
  requireRank(op, a, 2);
  requireRank(op, packed, 3);
  const [rows, blocks, bytes] = staticShape(packed.shape, op) as [number, number, number];
  const blockSize = (bytes * 8) / bits;
  if (!Number.isInteger(Math.log2(blockSize)) || blockSize < 16) {
    throw invalidArgument(`${op} block size`, 'a power of two from 16 on', blockSize);
  }
  if (Math.ceil(columns / blockSize) !== blocks) {
    throw invalidArgument(`${op} columns`, `those of ${blocks} blocks of ${blockSize}`, columns);
  }
  const expected = [
    [a, [a.shape[0]!, columns]],
    [scales, [rows, blocks]],
    ...(bias ? ([[bias, [rows]]] as const) : []),
  ] as const;
  for (const [value, shape] of expected) {
    if (sameShape(value.shape, shape)) continue;
    throw new ClipGenError(
      'invalid_argument',
      `${op}: ${value.name} must have shape ${showShape(shape)}; got ${showShape(value.shape)}`,
    );
  }
  const attributes = {
    K: int(columns),
    N: int(rows),
    bits: int(bits),
    block_size: int(blockSize),
    accuracy_level: int(accuracyLevel),
  };
  const inputs = bias ? [packed, scales, null, null, bias] : [packed, scales];
  return emitOne(op, [a, ...inputs], attributes, 'float32', [a.shape[0]!, rows]);
}
