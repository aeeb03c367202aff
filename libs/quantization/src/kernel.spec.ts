import { GraphBuilder, matMulNBits } from '@clip-gen/graph';
import { RandomStream } from '@clip-gen/rng';
import { tensor } from '@clip-gen/tensor';
import { runGraph } from '@clip-gen/testing';
import { expect, it } from 'vitest';
import { BLOCK_FORMATS, blockBytes, blocksOf } from './block-format.ts';
import type { Matrix } from './block-scales.ts';
import { dequantizeMatrix, quantizeMatrix, type QuantizedMatrix } from './quantize-matrix.ts';

const random = new RandomStream(3);
const normal = (rows: number, columns: number): Matrix => {
  return { rows, columns, data: Float32Array.from({ length: rows * columns }, () => random.normal()) };
};

/** a · Wᵀ + bias by ONNX Runtime's kernel. */
async function product(a: Matrix, weight: QuantizedMatrix, bias: Float32Array | null, accuracyLevel: 0 | 4) {
  const { rows, columns, format, packed, scales } = weight;
  const blocks = blocksOf(columns, format);
  const graph = new GraphBuilder('g');
  const integers = graph.constant(tensor('uint8', [rows, blocks, blockBytes(format)], packed));
  const multiples = graph.constant(tensor('float32', [rows, blocks], scales));
  const added = bias && graph.constant(tensor('float32', [rows], bias));
  const x = graph.input('x', 'float32', ['B', columns]);
  graph.output('y', matMulNBits(x, integers, multiples, added, { columns, bits: format.bits, accuracyLevel }));
  const { y } = await runGraph(graph, { x: tensor('float32', [a.rows, columns], a.data) });
  return y!.data as Float32Array;
}

/** The same in doubles, and how far the rounding of `a` to 8 bits in each block may take it. */
function expected(a: Matrix, weight: QuantizedMatrix, bias: Float32Array | null) {
  const { data } = dequantizeMatrix(weight);
  const { rows, columns, format } = weight;
  const values: number[] = [];
  const bounds: number[] = [];
  for (let m = 0; m < a.rows; m++) {
    for (let n = 0; n < rows; n++) {
      let [sum, size, bound] = [bias?.[n] ?? 0, 0, 0];
      for (let from = 0; from < columns; from += format.blockSize) {
        let [largest, weights] = [0, 0];
        for (let k = from; k < Math.min(columns, from + format.blockSize); k++) {
          const term = a.data[m * columns + k]! * data[n * columns + k]!;
          sum += term;
          size += Math.abs(term);
          largest = Math.max(largest, Math.abs(a.data[m * columns + k]!));
          weights += Math.abs(data[n * columns + k]!);
        }
        bound += (largest / 127 / 2) * weights; // half a step of the block for each weight
      }
      values.push(sum);
      bounds.push(bound * 1.001 + 1e-5 * size);
    }
  }
  return { values, bounds };
}

const CASES = ([4, 8] as const).flatMap((bits) => [
  { bits, m: 1, n: 48, k: 64, biased: true },
  { bits, m: 1, n: 33, k: 256, biased: false },
  { bits, m: 5, n: 33, k: 256, biased: true },
  { bits, m: 3, n: 16, k: 200, biased: true }, // the last block is part empty
]);

it.each(CASES)("ONNX Runtime's kernel multiplies by the matrix given back (%j)", async ({ bits, m, n, k, biased }) => {
  const [a, weight] = [normal(m, k), quantizeMatrix(normal(n, k), BLOCK_FORMATS[bits])];
  const bias = biased ? normal(1, n).data : null;
  const { values, bounds } = expected(a, weight, bias);
  const exact = await product(a, weight, bias, 0);
  const fast = await product(a, weight, bias, 4);
  const largest = Math.max(...values.map(Math.abs));
  let worst = 0;
  values.forEach((value, i) => {
    expect(Math.abs(exact[i]! - value)).toBeLessThan(2e-5 * largest);
    expect(Math.abs(fast[i]! - value)).toBeLessThan(bounds[i]!);
    worst = Math.max(worst, Math.abs(fast[i]! - value));
  });
  // By the law of large numbers far below the bound: noise of a 1/√12 step of each activation.
  expect(worst).toBeLessThan(0.02 * largest);
});

it.each([4, 8] as const)('activations on a grid of 8 bits lose nothing (%d bits)', async (bits) => {
  const weight = quantizeMatrix(normal(24, 128), BLOCK_FORMATS[bits]);
  // Integers with ±127 in each block are their own rounding.
  const data = Float32Array.from({ length: 128 }, (_, i) => (i % 32 === 5 ? 127 : ((i * 37) % 255) - 127));
  const a = { rows: 1, columns: 128, data };
  const { values } = expected(a, weight, null);
  const fast = await product(a, weight, null, 4);
  const largest = Math.max(...values.map(Math.abs));
  values.forEach((value, i) => expect(Math.abs(fast[i]! - value)).toBeLessThan(1e-5 * largest));
});

it.each([4, 8] as const)(
  'a row has the same product whatever stands beside it, in even numbers (%d bits)',
  async (bits) => {
    const weight = quantizeMatrix(normal(33, 200), BLOCK_FORMATS[bits]);
    const a = normal(32, 200);
    const together = await product(a, weight, null, 4);
    for (const rows of [2, 6, 14, 18]) {
      const alone = await product({ ...a, rows, data: a.data.slice(0, rows * 200) }, weight, null, 4);
      expect(alone).toEqual(together.slice(0, rows * 33));
    }
  },
);
