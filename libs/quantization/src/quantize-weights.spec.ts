import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { RandomStream } from '@clip-gen/rng';
import { openSafetensors, readSafetensors, toFloat32, writeSafetensors } from '@clip-gen/safetensors';
import { tensor, type Tensor } from '@clip-gen/tensor';
import { temporaryFolder } from '@clip-gen/testing';
import { describe, expect, it } from 'vitest';
import { BLOCK_FORMATS } from './block-format.ts';
import { compensatedRounding } from './compensated-rounding.ts';
import { quantizeMatrix, roundToScales } from './quantize-matrix.ts';
import { quantizeWeights, type QuantizeOptions } from './quantize-weights.ts';
import { blocksForm, quantizedLocation } from './stored-form.ts';

const normal = (shape: readonly number[]): Tensor<'float32'> => {
  const random = new RandomStream(shape.length);
  const length = shape.reduce((a, b) => a * b, 1);
  return tensor(
    'float32',
    shape,
    Float32Array.from({ length }, () => random.normal()),
  );
};
const WEIGHTS: Record<string, Tensor<'float32'>> = {
  'linear.weight': normal([6, 40]),
  'linear.bias': normal([6]),
  'table.weight': normal([10, 8]),
};
const MATRICES = new Set(['linear.weight']);
const FORMAT = BLOCK_FORMATS[4];

/** Quantises weights in a folder of its own; the folder stays. */
async function quantize(weights: Readonly<Record<string, Tensor>>, options: Partial<QuantizeOptions> = {}) {
  const folder = await temporaryFolder();
  await writeSafetensors(join(folder, 'a.safetensors'), Object.entries(weights), { format: 'pt' });
  const source = await openSafetensors(join(folder, 'a.safetensors'));
  const path = join(folder, 'b.safetensors');
  try {
    const report = await quantizeWeights(source, path, { format: FORMAT, matrices: MATRICES, ...options });
    return { report, path, folder };
  } catch (error) {
    expect(await readdir(folder)).toEqual(['a.safetensors']);
    throw error;
  } finally {
    await source.close();
  }
}

describe('quantizeWeights', () => {
  it('writes integers and scales for matrices, float16 for tables, vectors as they are', async () => {
    const noted: number[][] = [];
    const { report, path } = await quantize(WEIGHTS, { note: (...counts) => noted.push(counts) });
    const written = await readSafetensors(path);
    expect([...written.keys()].sort()).toEqual([
      'linear.bias',
      'linear.weight.packed',
      'linear.weight.scales',
      'table.weight',
    ]);
    const { data } = WEIGHTS['linear.weight']!;
    const direct = quantizeMatrix({ rows: 6, columns: 40, data }, FORMAT);
    expect(written.get('linear.weight.packed')).toEqual(tensor('uint8', [6, 2, 16], direct.packed));
    expect(written.get('linear.weight.scales')).toEqual(tensor('float32', [6, 2], direct.scales));
    expect(written.get('linear.bias')).toEqual(WEIGHTS['linear.bias']);
    const table = written.get('table.weight')!;
    expect(table.dtype).toBe('float16');
    toFloat32(table).data.forEach((value, i) => {
      const weight = WEIGHTS['table.weight']!.data[i]!;
      expect(Math.abs(value - weight)).toBeLessThanOrEqual(Math.abs(weight) * 2 ** -11);
    });
    expect(report).toMatchObject({ matrices: 1, weights: 240, worst: { name: 'linear.weight' } });
    expect(report.bytesBefore).toBe(4 * (240 + 6 + 80));
    expect(report.bytesAfter).toBe(6 * 2 * (16 + 4) + 4 * 6 + 2 * 80);
    expect(report.relativeError).toBeGreaterThan(0.03);
    expect(report.relativeError).toBeLessThan(0.12);
    expect(noted.at(-1)).toEqual([326, 326]);
    expect(noted).toHaveLength(4);
  });

  it('rounds for examples where it is told of them, asking for each matrix once, by name', async () => {
    const asked: string[] = [];
    const columns = 40;
    const gram = new Float32Array(columns * columns).fill(1);
    for (let k = 0; k < columns; k++) gram[k * (columns + 1)] = 2;
    const weights = { ...WEIGHTS, 'a.weight': normal([3, columns]) };
    const { path } = await quantize(weights, {
      matrices: new Set(['linear.weight', 'a.weight']),
      gramOf: (name) => {
        asked.push(name);
        return Promise.resolve(gram);
      },
    });
    expect(asked).toEqual(['a.weight', 'linear.weight']);
    const written = await readSafetensors(path);
    const matrix = { rows: 6, columns, data: WEIGHTS['linear.weight']!.data };
    const scales = written.get('linear.weight.scales')!.data as Float32Array;
    const direct = roundToScales(compensatedRounding(matrix, FORMAT, scales, gram), FORMAT, scales);
    expect(written.get('linear.weight.packed')!.data).toEqual(direct);
    expect(direct).not.toEqual(roundToScales(matrix, FORMAT, scales));
  });

  it('finds the forms and places of what it wrote', async () => {
    const { path } = await quantize(WEIGHTS);
    const file = await openSafetensors(path);
    await file.close();
    const forms = blocksForm(file.entries, { name: 'linear.weight', shape: [6, 40] }, FORMAT)!;
    for (const { name, dtypes, shape } of forms) {
      expect(dtypes).toEqual([file.entries.get(name)!.dtype]);
      expect(shape).toEqual(file.entries.get(name)!.shape);
    }
    expect(blocksForm(file.entries, { name: 'table.weight', shape: [10, 8] }, FORMAT)).toBeUndefined();
    const location = quantizedLocation('w', file.entries, 'linear.weight', FORMAT);
    expect(location).toMatchObject({ bits: 4, blockSize: 32, packed: { file: 'w', byteLength: 192 } });
    expect(quantizedLocation('w', file.entries, 'table.weight', FORMAT)).toBeUndefined();
  });

  it.each<[string, Readonly<Record<string, Tensor>>, string]>([
    ['is missing', { 'linear.bias': normal([6]) }, 'not_found'],
    ['is no matrix', { 'linear.weight': normal([6]) }, 'failed_precondition'],
    ['is not finite', { 'linear.weight': tensor('float32', [1, 2], Float32Array.of(1, NaN)) }, 'failed_precondition'],
    ['is integers', { 'linear.weight': tensor('int32', [1, 2], Int32Array.of(1, 2)) }, 'invalid_argument'],
    ['is past float16', { ...WEIGHTS, wide: tensor('float32', [1, 1], Float32Array.of(1e6)) }, 'failed_precondition'],
  ])('refuses a weight that %s, and leaves no file', async (_, weights, code) => {
    await expect(quantize(weights)).rejects.toMatchObject({ code });
  });

  it('stops between two tensors, and leaves no file', async () => {
    const controller = new AbortController();
    const stopped = quantize(WEIGHTS, { signal: controller.signal, note: () => controller.abort() });
    await expect(stopped).rejects.toMatchObject({ code: 'cancelled' });
  });
});
