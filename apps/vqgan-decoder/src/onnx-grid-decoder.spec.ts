import { cp, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { writeTinyModel } from '@clip-gen/generation';
import { temporaryFolder } from '@clip-gen/testing';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { writeAverageColourDecoder } from './average-colour-decoder.ts';
import type { DecoderManifest } from './decoder-manifest.ts';
import { OnnxGridDecoder } from './onnx-grid-decoder.ts';
import { VqganGridDecoder } from './vqgan-grid-decoder.ts';

const engine = { threads: 1 };
let vqgan: VqganGridDecoder;
let folder: string;
beforeAll(async () => {
  const model = join(await temporaryFolder(), 'model');
  await writeTinyModel(model);
  vqgan = await VqganGridDecoder.open(model, engine);
  folder = join(await temporaryFolder(), 'average');
  await writeAverageColourDecoder(vqgan, folder);
});
afterAll(() => vqgan.close());

async function changed(change: object): Promise<string> {
  const copy = join(await temporaryFolder(), 'copy');
  await cp(folder, copy, { recursive: true });
  const path = join(copy, 'decoder.json');
  const manifest = JSON.parse(await readFile(path, 'utf8')) as DecoderManifest;
  await writeFile(path, JSON.stringify({ ...manifest, ...change }));
  return path;
}

describe('an ONNX file with a manifest', () => {
  it('shows each code as a tile of the average colour that the VQGAN gives it', async () => {
    const onnx = await OnnxGridDecoder.open(join(folder, 'decoder.json'), engine);
    try {
      const { name, grid, image, codebookSize, weightsSha256 } = onnx.description;
      expect({ name, grid, image, codebookSize }).toEqual({
        name: 'average-colour',
        grid: vqgan.description.grid,
        image: vqgan.description.image,
        codebookSize: 33,
      });
      expect(weightsSha256).toMatch(/^[0-9a-f]{64}$/);
      const tokens = Int32Array.from({ length: 16 }, (_, i) => (i * 7) % 33);
      const [picture, again] = await onnx.decode([tokens, tokens], {});
      expect(again).toEqual(picture);
      for (const [i, token] of tokens.entries()) {
        const [flat] = await vqgan.decode([new Int32Array(16).fill(token)], {});
        const mean = [0, 1, 2].map((c) => flat!.data.filter((_, at) => at % 3 === c).reduce((a, b) => a + b) / 256);
        const [row, column] = [Math.floor(i / 4) * 4, (i % 4) * 4];
        for (const [y, x] of [
          [row, column],
          [row + 3, column + 3],
        ] as const) {
          const pixel = picture!.data.subarray((y * 16 + x) * 3, (y * 16 + x) * 3 + 3);
          mean.forEach((level, c) => expect(Math.abs(pixel[c]! - level)).toBeLessThanOrEqual(0.51));
        }
      }
      expect('encode' in onnx).toBe(false);
    } finally {
      await onnx.close();
    }
  });

  it('may have another range of values', async () => {
    const path = await changed({ range: [-1, 1] });
    const [a, b] = await Promise.all(
      [join(folder, 'decoder.json'), path].map((at) => OnnxGridDecoder.open(at, engine)),
    );
    const tokens = new Int32Array(16).fill(5);
    const [[zeroToOne], [minusOneToOne]] = await Promise.all([a!.decode([tokens], {}), b!.decode([tokens], {})]);
    zeroToOne!.data.forEach((level, i) => {
      expect(Math.abs(minusOneToOne!.data[i]! - (level / 2 + 127.5))).toBeLessThanOrEqual(1);
    });
    await Promise.all([a!.close(), b!.close()]);
  });

  it.each<[object, string, string]>([
    [{ name: 'a b' }, 'data_corrupt', 'name must be letters'],
    [{ onnx: '../average-colour.onnx' }, 'data_corrupt', 'onnx must name a file in this folder'],
    [{ onnx: '/etc/hostname' }, 'data_corrupt', 'onnx must name a file in this folder'],
    [{ onnx: 'a/../../x.onnx' }, 'data_corrupt', 'onnx must name a file in this folder'],
    [{ onnx: 'other.onnx' }, 'not_found', 'other.onnx cannot be read'],
    [{ onnx: 'decoder.json' }, 'data_corrupt', ''],
    [{ range: [1, 1] }, 'data_corrupt', 'range must be [lowest, highest]'],
    [{ codebookSize: 0 }, 'data_corrupt', 'codebookSize'],
    [{ extra: 1 }, 'data_corrupt', 'extra'],
    [{ grid: { height: 5, width: 4 } }, 'failed_precondition', 'input tokens must be int64 [1, 20], is int64 [1, 16]'],
    [{ image: { height: 16, width: 17 } }, 'failed_precondition', 'output pixels must be float32 [1, 3, 16, 17]'],
    [{ input: 'codes' }, 'failed_precondition', 'no input is called codes (tokens)'],
    [{ output: 'picture' }, 'failed_precondition', 'no output is called picture (pixels)'],
  ])('is refused when it does not fit (%j)', async (change, code, message) => {
    const path = await changed(change);
    await expect(OnnxGridDecoder.open(path, engine)).rejects.toMatchObject({
      code,
      message: expect.stringContaining(message),
    });
  });

  it.each([
    ['nothing', '', 'must be JSON'],
    ['half', '{"name": "x"', 'must be JSON'],
    ['a list', '[]', 'is no decoder manifest'],
  ])('is refused when the manifest holds %s', async (_, text, message) => {
    const path = await changed({});
    await writeFile(path, text);
    await expect(OnnxGridDecoder.open(path, engine)).rejects.toThrow(message);
  });

  it('is refused when the manifest is a giant or a folder', async () => {
    const path = await changed({});
    await writeFile(path, ' '.repeat(70_000));
    await expect(OnnxGridDecoder.open(path, engine)).rejects.toMatchObject({ code: 'resource_exhausted' });
    await expect(OnnxGridDecoder.open(folder, engine)).rejects.toMatchObject({ code: 'not_found' });
  });
});

describe('the VQGAN', () => {
  it('goes both ways, with pictures of any size', async () => {
    const { description } = vqgan;
    expect(description).toMatchObject({ name: 'vqgan', grid: { height: 4, width: 4 }, codebookSize: 33 });
    const image = { width: 40, height: 20, data: Uint8Array.from({ length: 2400 }, (_, i) => (i * 31) % 251) };
    const grids = await vqgan.encode([image, image], {});
    expect(grids).toHaveLength(2);
    expect(grids[0]).toEqual(grids[1]);
    expect(grids[0]!.every((token) => token >= 0 && token < 33)).toBe(true);
    expect(await vqgan.decode([], {})).toEqual([]);
  });
});
