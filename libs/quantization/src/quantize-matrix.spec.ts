import { RandomStream } from '@clip-gen/rng';
import { describe, expect, it } from 'vitest';
import { BLOCK_FORMATS, type QuantizedBits } from './block-format.ts';
import { blockScales, type Matrix, type ScaleChoice } from './block-scales.ts';
import { errorStatistics, relativeError } from './error-statistics.ts';
import { dequantizeMatrix, quantizeMatrix } from './quantize-matrix.ts';

const normal = (rows: number, columns: number, seed = 1): Matrix => {
  const random = new RandomStream(seed);
  return { rows, columns, data: Float32Array.from({ length: rows * columns }, () => random.normal()) };
};
const there = (matrix: Matrix, bits: QuantizedBits, choice?: ScaleChoice) =>
  dequantizeMatrix(quantizeMatrix(matrix, BLOCK_FORMATS[bits], choice));
const error = (matrix: Matrix, bits: QuantizedBits, choice?: ScaleChoice) =>
  relativeError([errorStatistics(matrix, there(matrix, bits, choice))]);

describe('the layout', () => {
  it('of 4 bits: the earlier weight in the lower half of a byte, 8 for zero, blocks padded with zeros', () => {
    const data = new Float32Array(2 * 35);
    data.set([-4, 3.5, 0.5, -0.5]); // multiples of 0.5 from −8 to 7
    data.set([7, -8], 35 + 32);
    const { packed, scales } = quantizeMatrix({ rows: 2, columns: 35, data }, BLOCK_FORMATS[4]);
    expect([...scales]).toEqual([0.5, 0, 0, 1]);
    expect(packed.length).toBe(2 * 2 * 16);
    expect([...packed.subarray(0, 3)]).toEqual([0xf0, 0x79, 0x88]);
    expect([...packed.subarray(48, 51)]).toEqual([0x0f, 0x88, 0x88]);
    expect([...packed.subarray(16, 48)]).toEqual(new Array(32).fill(0x88));
  });

  it('of 8 bits: a byte a weight, 128 for zero', () => {
    const data = new Float32Array(130);
    data.set([-128, 127, 0, 1]);
    data.set([254, -2], 128);
    const { packed, scales } = quantizeMatrix({ rows: 1, columns: 130, data }, BLOCK_FORMATS[8]);
    expect([...scales]).toEqual([1, 2]);
    expect([...packed.subarray(0, 5)]).toEqual([0, 255, 128, 129, 128]);
    expect([...packed.subarray(128, 131)]).toEqual([255, 127, 128]);
    expect(packed.length).toBe(256);
  });
});

describe.each([4, 8] as const)('%d bits', (bits) => {
  const half = 2 ** (bits - 1);

  it('give back what lies on a grid, of either sign', () => {
    for (const scale of [0.25, -0.25]) {
      const data = Float32Array.from({ length: 3 * 256 }, (_, i) => scale * (((i * 7) % (2 * half)) - half));
      const matrix = { rows: 3, columns: 256, data };
      there(matrix, bits).data.forEach((value, i) => expect(Math.abs(value - data[i]!)).toBe(0)); // −0 is 0
    }
  });

  it('give back constants and zeros', () => {
    for (const value of [0, 3.25, -1e-30]) {
      const matrix = { rows: 2, columns: 40, data: new Float32Array(80).fill(value) };
      expect(errorStatistics(matrix, there(matrix, bits)).largestError).toBeLessThanOrEqual(Math.abs(value) * 2 ** -23);
    }
  });

  it('are at most half a step off without clipping', () => {
    const matrix = normal(4, 300);
    const { blockSize } = BLOCK_FORMATS[bits];
    const scales = blockScales(matrix, BLOCK_FORMATS[bits], 'nearest');
    const back = there(matrix, bits, 'nearest');
    const blocks = Math.ceil(300 / blockSize);
    matrix.data.forEach((weight, i) => {
      const scale = scales[Math.floor(i / 300) * blocks + Math.floor((i % 300) / blockSize)]!;
      expect(Math.abs(weight - back.data[i]!)).toBeLessThanOrEqual(scale * (0.5 + 1e-6));
    });
  });

  it('are nearer by the search than without, in every block', () => {
    const { blockSize } = BLOCK_FORMATS[bits];
    for (let seed = 0; seed < 50; seed++) {
      const block = normal(1, blockSize, seed);
      const searched = error(block, bits);
      expect(searched).toBeLessThanOrEqual(error(block, bits, 'nearest') * (1 + 1e-6));
      if (seed > 9) continue;
      // Every scale of a fine grid, of both signs: the least error there is.
      let least = Infinity;
      const largest = block.data.reduce((a, b) => Math.max(a, Math.abs(b)), 0);
      for (let i = -3000; i <= 3000; i++) {
        const scale = (largest / half) * (i / 2000);
        if (Math.abs(i) < 1000) continue;
        let sum = 0;
        for (const weight of block.data) {
          const q = Math.max(-half, Math.min(half - 1, Math.round(weight / scale)));
          sum += (weight - q * scale) ** 2;
        }
        least = Math.min(least, sum);
      }
      const energy = block.data.reduce((sum, weight) => sum + weight * weight, 0);
      expect(searched ** 2 * energy).toBeLessThan(1.1 * least);
    }
  });

  it('refuse what is not finite', () => {
    for (const bad of [NaN, Infinity]) {
      const matrix = normal(2, 40);
      matrix.data[41] = bad;
      expect(() => quantizeMatrix(matrix, BLOCK_FORMATS[bits])).toThrow(
        `weights must be finite to be quantised; row 1 has ${bad}`,
      );
    }
  });
});

it('4 bits over normal weights beat the best one grid for all of them', () => {
  // Max, Quantizing for minimum distortion (1960), table II: 16 equal steps leave 0.01154 of the variance.
  const matrix = normal(64, 512);
  expect(error(matrix, 4) ** 2).toBeLessThan(0.01154);
  expect(error(matrix, 4, 'nearest') / error(matrix, 4)).toBeGreaterThan(1.08);
});

it('importance moves the error to columns where it matters less', () => {
  const matrix = normal(32, 32);
  const importance = Float32Array.from({ length: 32 }, (_, i) => (i < 4 ? 100 : 1));
  const weighted = (scales: Float32Array): number => {
    let sum = 0;
    matrix.data.forEach((weight, i) => {
      const scale = scales[Math.floor(i / 32)]!;
      const q = Math.max(-8, Math.min(7, Math.round(weight / scale)));
      sum += importance[i % 32]! * (weight - q * scale) ** 2;
    });
    return sum;
  };
  const format = BLOCK_FORMATS[4];
  const ratio = weighted(blockScales(matrix, format, 'search', importance)) / weighted(blockScales(matrix, format));
  expect(ratio).toBeLessThan(0.9);
});
