import { readdir, readFile, stat, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { temporaryFolder } from '@clip-gen/testing';
import { beforeAll, describe, expect, it } from 'vitest';
import { ClipStage } from './clip-stage.ts';
import { writeModel } from '../model-folder.ts';
import {
  loadFrozenModels,
  openPictures,
  recordedLine,
  tinyClipTraining,
  writeFrozenModels,
  writePictures,
} from '../tiny-trainings.ts';
import type { PictureTokens } from './encode-pictures.ts';
import { pictureTokens } from './token-cache.ts';

const PICTURES = 5;
let models: string;

beforeAll(async () => {
  models = await temporaryFolder();
  await writePictures(join(models, 'pictures'), PICTURES);
  await writeFrozenModels(models, join(models, 'pictures'));
});

/** Tokens of all pictures of `root`, what was printed, and whether they were computed. */
async function tokensOf(root: string, folder: string, from = models) {
  const dataset = await openPictures(root);
  const { line, lines } = recordedLine();
  try {
    const found = await pictureTokens(dataset, await loadFrozenModels(from), { folder, root, threads: 1, line });
    return { found, lines, computed: lines.some((text) => text.includes('encoding pictures')) };
  } finally {
    await dataset.close();
  }
}

async function freshPictures(): Promise<string> {
  const root = join(await temporaryFolder(), 'pictures');
  await writePictures(root, PICTURES);
  return root;
}

async function cacheFile(folder: string): Promise<string> {
  const [name, ...others] = await readdir(folder);
  expect(others).toEqual([]);
  return join(folder, name!);
}

function expectSound({ tokens, embeddings }: PictureTokens): void {
  expect(tokens.shape).toEqual([PICTURES, 16]);
  expect(embeddings.shape).toEqual([PICTURES, 8]);
  expect(tokens.data.every((token) => token >= 0 && token < 16)).toBe(true);
  for (let row = 0; row < PICTURES; row++) {
    expect(Math.hypot(...embeddings.data.subarray(row * 8, row * 8 + 8))).toBeCloseTo(1, 5);
  }
}

describe('pictureTokens', { timeout: 180_000 }, () => {
  it('reads what was made of the same pictures by the same models', async () => {
    const [root, folder] = [await freshPictures(), await temporaryFolder()];
    const first = await tokensOf(root, folder);
    expect(first.computed).toBe(true);
    expectSound(first.found);
    const { mtimeMs } = await stat(await cacheFile(folder));
    const second = await tokensOf(root, folder);
    expect(second.computed).toBe(false);
    expect(second.found).toEqual(first.found);
    expect((await stat(await cacheFile(folder))).mtimeMs).toBe(mtimeMs);
  });

  it('computes again when a picture has changed or gone, or a model is another', async () => {
    const [root, folder] = [await freshPictures(), await temporaryFolder()];
    await tokensOf(root, folder);
    await utimes(join(root, '2.png'), 1, 1);
    expect((await tokensOf(root, folder)).computed).toBe(true);
    await writeFile(join(root, '4.png'), await readFile(join(root, '1.png')));
    const changed = await tokensOf(root, folder);
    expect(changed.computed).toBe(true);
    const { tokens } = changed.found;
    expect([...tokens.data.subarray(4 * 16)]).toEqual([...tokens.data.subarray(16, 32)]);

    const others = await temporaryFolder();
    await writeFrozenModels(others, join(models, 'pictures'));
    expect((await tokensOf(root, folder, others)).computed).toBe(false); // equal models elsewhere
    const dataset = await openPictures(join(models, 'pictures'), 16, true);
    await writeModel(join(others, 'clip'), ClipStage.create(tinyClipTraining({ seed: 6 }), dataset).model());
    await dataset.close();
    expect((await tokensOf(root, folder, others)).computed).toBe(true);
  });

  it.each([
    [
      'a flipped bit in a token',
      (bytes: Buffer) => bytes.fill((bytes.at(-200)! ^ 1) & 15, bytes.length - 200, bytes.length - 199),
    ],
    ['its end missing', (bytes: Buffer) => bytes.subarray(0, bytes.length - 50)],
    ['another format', () => Buffer.from('not safetensors at all, but long enough for a header')],
  ])('names a cache file with %s, and makes it again', async (_, damage) => {
    const [root, folder] = [await freshPictures(), await temporaryFolder()];
    const { found } = await tokensOf(root, folder);
    const file = await cacheFile(folder);
    await writeFile(file, damage(await readFile(file)));
    const again = await tokensOf(root, folder);
    expect(again.lines[0]).toContain(file);
    expect(again.lines[0]).toContain('encoding the pictures again');
    expect(again.found).toEqual(found);
    expect((await tokensOf(root, folder)).computed).toBe(false);
  });

  it('says which weight a model lacks', async () => {
    const dataset = await openPictures(join(models, 'pictures'));
    const frozen = await loadFrozenModels(models);
    const { line } = recordedLine();
    const weights = { ...frozen.vqgan.weights };
    delete weights['encoder.final.2.weight'];
    const lacking = { ...frozen, vqgan: { ...frozen.vqgan, weights, hash: 'other' } };
    const options = { folder: await temporaryFolder(), root: join(models, 'pictures'), threads: 1, line };
    await expect(pictureTokens(dataset, lacking, options)).rejects.toMatchObject({
      code: 'failed_precondition',
      message: expect.stringMatching(/vqgan: encoder\.final\.2\.weight must be \[.*\]; got nothing$/),
    });
    await dataset.close();
  });
});
