import { cp, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { temporaryFolder } from '@clip-gen/testing';
import { beforeAll, describe, expect, it } from 'vitest';
import { generate } from './generate.ts';
import { openModel } from './open-model.ts';
import { openPreviewPart, PreviewDecoder } from './preview-decoder.ts';
import { writeTinyModel } from './tiny-model.ts';

const REQUEST = { prompt: 'a slice of pizza', candidates: 3, pictures: 3, seed: 5 };

let folder: string;
beforeAll(async () => {
  folder = await temporaryFolder();
  await writeTinyModel(folder, { preview: true });
});

describe('a model with a preview decoder', () => {
  it('draws the same tokens and shows them by the decoder that is asked for', async () => {
    const [own, small] = [await openModel(folder), await openModel(folder, { decoder: 'preview', threads: 1 })];
    const [full, quick] = [await generate(own, REQUEST), await generate(small, REQUEST)];
    const byCandidate = (pictures: typeof full.pictures) => pictures.toSorted((a, b) => a.candidate - b.candidate);
    const tokens = byCandidate(full.pictures).map((picture) => picture.tokens);
    expect(byCandidate(quick.pictures).map((picture) => picture.tokens)).toEqual(tokens);
    for (const picture of quick.pictures) {
      expect([picture.image.width, picture.image.height, picture.image.data.length]).toEqual([16, 16, 768]);
      expect(new Set(picture.image.data).size).toBeGreaterThan(5);
      expect(full.pictures.find(({ candidate }) => candidate === picture.candidate)!.image).not.toEqual(picture.image);
      expect(await small.pictureDecoder.decode(picture.tokens)).toEqual(picture.image);
    }
    const scores = quick.pictures.map(({ score }) => score);
    expect(scores).toEqual(scores.toSorted((a, b) => b - a)); // ranked by CLIP, as ever
    await own.close();
    await small.close();
  });

  it('gives together what it gives alone, and checks its tokens', async () => {
    const decoder = await PreviewDecoder.open(await openPreviewPart(join(folder, 'preview')), { threads: 1 });
    const grids = Array.from({ length: 19 }, (_, i) =>
      Int32Array.from({ length: 16 }, (__, t) => (i * 7 + t * t) % 33),
    );
    const together = await decoder.decodeAll(grids);
    expect(together).toHaveLength(19);
    for (const [i, grid] of grids.entries()) expect(await decoder.decode(grid)).toEqual(together[i]);
    expect(decoder.tokens).toBe(16);
    await expect(decoder.decode([1, 2])).rejects.toThrow('tokens must be 16 codes; got 2');
    await expect(decoder.decode(Array.from({ length: 16 }, () => 33))).rejects.toThrow(
      'tokens[0] must be an integer in [0, 33); got 33',
    );
    await decoder.close();
  });

  it('says what to do where there is none, or one of another VQGAN', async () => {
    const other = await temporaryFolder();
    await cp(folder, other, { recursive: true });
    const config = join(other, 'preview', 'config.json');
    const sizes = JSON.parse(await readFile(config, 'utf8')) as object;
    await writeFile(config, JSON.stringify({ ...sizes, patchSize: 4 }));
    await expect(openModel(other, { decoder: 'preview' })).rejects.toMatchObject({
      code: 'failed_precondition',
      message: expect.stringContaining('model.safetensors does not fit its config.json'),
    });
    const another = join(await temporaryFolder(), 'another');
    await writeTinyModel(another, { preview: true, codebookSize: 20 });
    await rm(join(other, 'preview'), { recursive: true });
    await cp(join(another, 'preview'), join(other, 'preview'), { recursive: true });
    await expect(openModel(other, { decoder: 'preview' })).rejects.toMatchObject({
      code: 'failed_precondition',
      message: `${join(other, 'preview')} is of another VQGAN than ${join(other, 'vqgan')}: codebookSize must be the VQGAN's 33, is 20`,
    });
    await rm(join(other, 'preview'), { recursive: true });
    await expect(openModel(other, { decoder: 'preview' })).rejects.toMatchObject({
      code: 'not_found',
      message:
        `model ${other} has no preview decoder; train it: clip-gen train preview --data PICTURES ` +
        `--vqgan ${join(other, 'vqgan')} --out ${join(other, 'preview')}`,
    });
    await (await openModel(other)).close();
  });
});
