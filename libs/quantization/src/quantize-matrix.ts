import { invalidArgument } from '@clip-gen/errors';
import type { BlockFormat } from '@clip-gen/graph';
import { blockBytes, blocksOf, zeroPoint } from './block-format.ts';
import { blockScales, type Matrix, type ScaleChoice } from './block-scales.ts';

/** A matrix (N, K) as integers with a scale for each block of a row, in the layout of `com.microsoft.MatMulNBits`. */
export interface QuantizedMatrix {
  readonly rows: number;
  readonly columns: number;
  readonly format: BlockFormat;
  /** (N, blocks, bytes of a block); of 4-bit integers the earlier one lies in the lower half of a byte. */
  readonly packed: Uint8Array;
  /** (N, blocks) */
  readonly scales: Float32Array;
}

/**
 * A matrix in blocks: {@link blockScales}, then each weight the nearest multiple of its scale.
 *
 * @throws failed_precondition when a weight is not finite
 */
export function quantizeMatrix(matrix: Matrix, format: BlockFormat, choice?: ScaleChoice): QuantizedMatrix {
  const scales = blockScales(matrix, format, choice);
  return { ...matrix, format, scales, packed: roundToScales(matrix, format, scales) };
}

/**
 * The integers of a matrix whose scales are given, packed; places behind a row's end are zero weights.
 *
 * @param scales float32 (N, blocks)
 * @returns uint8 (N, blocks, bytes of a block), the caller's
 */
export function roundToScales(matrix: Matrix, format: BlockFormat, scales: Float32Array): Uint8Array {
  const { rows, columns, data } = matrix;
  const { bits, blockSize } = format;
  const [blocks, bytes, zero] = [blocksOf(columns, format), blockBytes(format), zeroPoint(format)];
  if (scales.length !== rows * blocks) throw invalidArgument('scales', `${rows * blocks} numbers`, scales.length);
  const packed = new Uint8Array(rows * blocks * bytes).fill(bits === 8 ? zero : zero * 17);
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      const block = row * blocks + Math.floor(column / blockSize);
      const scale = scales[block]!;
      if (scale === 0) continue;
      const nearest = Math.round(data[row * columns + column]! / scale);
      const q = Math.max(-zero, Math.min(zero - 1, nearest)) + zero;
      const place = column % blockSize;
      if (bits === 8) packed[block * bytes + place] = q;
      else {
        const at = block * bytes + (place >> 1);
        packed[at] = place % 2 === 0 ? (packed[at]! & 0xf0) | q : (packed[at]! & 0x0f) | (q << 4);
      }
    }
  }
  return packed;
}

/** The matrix that a kernel multiplies by: (N, K) float32, the caller's. */
export function dequantizeMatrix({ rows, columns, format, packed, scales }: QuantizedMatrix): Matrix {
  const { bits, blockSize } = format;
  const [blocks, bytes, zero] = [blocksOf(columns, format), blockBytes(format), zeroPoint(format)];
  const data = new Float32Array(rows * columns);
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      const block = row * blocks + Math.floor(column / blockSize);
      const place = column % blockSize;
      const byte = packed[block * bytes + (bits === 8 ? place : place >> 1)]!;
      const q = bits === 8 ? byte : (byte >> (4 * (place % 2))) & 15;
      data[row * columns + column] = (q - zero) * scales[block]!;
    }
  }
  return { rows, columns, data };
}
