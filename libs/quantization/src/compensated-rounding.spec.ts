import { RandomStream } from '@clip-gen/rng';
import { describe, expect, it } from 'vitest';
import { BLOCK_FORMATS } from './block-format.ts';
import { blockScales, type Matrix } from './block-scales.ts';
import { activationImportance, compensatedRounding } from './compensated-rounding.ts';
import { dequantizeMatrix, roundToScales } from './quantize-matrix.ts';

const FORMAT = BLOCK_FORMATS[4];
const normal = (rows: number, columns: number, seed: number): Matrix => {
  const random = new RandomStream(seed);
  return { rows, columns, data: Float32Array.from({ length: rows * columns }, () => random.normal()) };
};

/** Σ xᵀx over the rows. */
function gramOf({ rows, columns, data }: Matrix): Float32Array {
  const gram = new Float32Array(columns * columns);
  for (let r = 0; r < rows; r++) {
    for (let i = 0; i < columns; i++) {
      for (let j = 0; j < columns; j++) gram[i * columns + j]! += data[r * columns + i]! * data[r * columns + j]!;
    }
  }
  return gram;
}

/** Σ |x·(W − Ŵ)ᵀ|² over the rows of `x`. */
function outputError(x: Matrix, weight: Matrix, approximate: Matrix): number {
  let total = 0;
  for (let r = 0; r < x.rows; r++) {
    for (let n = 0; n < weight.rows; n++) {
      let sum = 0;
      for (let k = 0; k < x.columns; k++) {
        const at = n * x.columns + k;
        sum += x.data[r * x.columns + k]! * (weight.data[at]! - approximate.data[at]!);
      }
      total += sum * sum;
    }
  }
  return total;
}

/** Examples whose columns go together in pairs and more. */
function correlated(rows: number, columns: number): Matrix {
  const { data } = normal(rows, columns, 5);
  for (let i = 1; i < data.length; i++) if (i % columns !== 0) data[i] = 0.8 * data[i - 1]! + 0.4 * data[i]!;
  return { rows, columns, data };
}

/** Numbers of a matrix, 0 for −0. */
const numbers = ({ data }: Matrix): number[] => Array.from(data, (value) => value + 0);
const plainly = (weight: Matrix, scales: Float32Array): Matrix =>
  dequantizeMatrix({ ...weight, format: FORMAT, scales, packed: roundToScales(weight, FORMAT, scales) });

describe('compensated rounding', () => {
  it('leaves a fraction of the error in the products, for these examples and others like them', () => {
    const [all, weight] = [correlated(400, 64), normal(16, 64, 2)];
    const seen = { ...all, rows: 200, data: all.data.subarray(0, 200 * 64) };
    const unseen = { ...all, rows: 200, data: all.data.subarray(200 * 64) };
    const scales = blockScales(weight, FORMAT);
    const compensated = compensatedRounding(weight, FORMAT, scales, gramOf(seen));
    const plain = plainly(weight, scales);
    for (const x of [seen, unseen]) {
      expect(outputError(x, weight, compensated) / outputError(x, weight, plain)).toBeLessThan(0.6);
    }
    // What it gives are multiples of the scales: packing changes nothing.
    expect(numbers(plainly(compensated, scales))).toEqual(numbers(compensated));
  });

  it('is plain rounding for activations that do not go together', () => {
    const weight = normal(4, 64, 3);
    const gram = new Float32Array(64 * 64);
    for (let k = 0; k < 64; k++) gram[k * 65] = 1 + k;
    const scales = blockScales(weight, FORMAT);
    const plain = numbers(plainly(weight, scales));
    expect(numbers(compensatedRounding(weight, FORMAT, scales, gram))).toEqual(plain);
    expect(numbers(compensatedRounding(weight, FORMAT, scales, new Float32Array(64 * 64)))).toEqual(plain);
  });

  it('with two equal activations cares for the sum of their weights alone', () => {
    // Scale 1: 0.4 → 0 leaves 0.4 for its twin, 0.3 + 0.4 → 1; both alone would be 0.
    const weight = {
      rows: 1,
      columns: 16,
      data: Float32Array.from({ length: 16 }, (_, i) => (i < 2 ? [0.4, 0.3][i]! : 7)),
    };
    const gram = new Float32Array(256);
    for (let k = 0; k < 16; k++) gram[k * 17] = 1;
    gram[1] = gram[16] = 1;
    const format = { bits: 4, blockSize: 16 } as const;
    const { data } = compensatedRounding(weight, format, Float32Array.of(1), gram);
    expect([...data.subarray(0, 3)]).toEqual([0, 1, 7]);
  });

  it('refuses activations that are not finite, and of another width', () => {
    const weight = normal(1, 32, 1);
    const scales = blockScales(weight, FORMAT);
    const gram = new Float32Array(32 * 32).fill(NaN);
    expect(() => compensatedRounding(weight, FORMAT, scales, gram)).toThrow('activations must be finite');
    expect(() => compensatedRounding(weight, FORMAT, scales, new Float32Array(9))).toThrow(
      'gram must be 32 × 32 numbers',
    );
  });
});

it('importance is the mean square of an activation, and never nothing', () => {
  const importance = activationImportance(Float32Array.of(3, 9, 9, 0, 1, 9, 9, 9, 0), 3);
  expect([...importance].map((value) => Number(value.toFixed(6)))).toEqual([3.013333, 1.013333, 0.013333]);
});
