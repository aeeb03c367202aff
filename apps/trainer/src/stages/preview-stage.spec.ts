import { join } from 'node:path';
import type { ImageDataset } from '@clip-gen/datasets';
import { expectClose, temporaryFolder } from '@clip-gen/testing';
import { previewMisfit } from '@clip-gen/vqgan';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { FrozenModels } from './frozen-models.ts';
import { loadFrozenModels, openPictures, recordedLine, TINY_VQGAN } from '../tiny-trainings.ts';
import { tinyPreviewTraining, writeFrozenModels, writePictures } from '../tiny-trainings.ts';
import { runTraining } from '../training-loop.ts';
import { canKeep } from './kept-examples.ts';
import { PreviewStage, type PreviewSources } from './preview-stage.ts';

const NONE = { network: { kind: 'none' }, weights: {} } as const;
const PICTURES = 16;

describe('preview training', { timeout: 240_000 }, () => {
  let dataset: ImageDataset;
  let frozen: FrozenModels;
  let sources: PreviewSources;
  let root: string;
  let folder: string;
  beforeAll(async () => {
    const pictures = (root = await temporaryFolder());
    folder = await temporaryFolder();
    const models = await temporaryFolder();
    await writePictures(pictures, PICTURES);
    await writeFrozenModels(models, pictures);
    dataset = await openPictures(pictures);
    frozen = await loadFrozenModels(models);
    const held = new Set(dataset.files.slice(0, 4));
    sources = {
      vqgan: frozen.vqgan,
      perceptual: NONE,
      training: dataset.subset((file) => !held.has(file)),
      validation: dataset.subset((file) => held.has(file)),
    };
  });
  afterAll(() => dataset.close());

  const create = (settings: ReturnType<typeof tinyPreviewTraining>): Promise<PreviewStage> =>
    PreviewStage.create(settings, sources, { folder, root, line: recordedLine().line, checkStop: () => undefined });

  /** The last validation's PSNR and the losses of a training. */
  async function train(changes: object): Promise<{ losses: number[]; psnr: [before: number, after: number] }> {
    const settings = tinyPreviewTraining({ epochs: 30, learningRate: 0.02, ...changes });
    const stage = await create(settings);
    const losses: number[] = [];
    try {
      const before = await stage.validate();
      await runTraining(stage, {
        out: await temporaryFolder(),
        settings,
        identity: 'test',
        progress: recordedLine().line,
        onStep: (_, metrics) => losses.push(metrics['loss']!),
        stopRequested: () => false,
      });
      const after = await stage.validate();
      expect(await stage.illustrate()).toHaveProperty('size', 1);
      return { losses, psnr: [before!.metrics['psnr']!, after!.metrics['psnr']!] };
    } finally {
      await stage.close();
    }
  }

  it.each([
    ['kept pictures', {}, 0.6],
    ['pictures made again, shifted', { augmentation: { shiftPixels: 2 } }, 0.75],
    // An untrained VQGAN's tokens tell little of them.
    ['the pictures themselves', { original: 1 }, 0.92],
  ])('learns from %s', async (_, changes, share) => {
    const { losses, psnr } = await train(changes);
    expect(losses).toHaveLength(90);
    const mean = (values: number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;
    expect(mean(losses.slice(-9))).toBeLessThan(share * mean(losses.slice(0, 9)));
    if (!('original' in changes)) expect(psnr[1]).toBeGreaterThan(psnr[0] + 3);
  });

  it('has the same examples kept as made', async () => {
    const kept = await create(tinyPreviewTraining());
    const fresh = await create(tinyPreviewTraining({ keepMegabytes: 0 }));
    expect(kept.kept?.length).toBe(12);
    expect(fresh.kept).toBeUndefined();
    const { value: images } = await sources.training.batches({ batchSize: 12, training: false }).next();
    const made = await fresh.teacher.examples(images!.images);
    const held = kept.kept!.take(Uint32Array.from({ length: 12 }, (_, i) => i));
    expect(held.tokens).toEqual(made.tokens);
    expect(held.target).toEqual(made.target);
    expectClose([...held.original.data], [...made.original.data], { absolute: 1e-6 });
    expect(new Set(held.tokens.data).size).toBeGreaterThan(1);
    await kept.close();
    await fresh.close();
  });

  it('starts from the codes of the VQGAN, scaled to a mean square of 1', async () => {
    const stage = await create(tinyPreviewTraining());
    const own = new Map(stage.model().weights).get('codebook.weight')!.data as Float32Array;
    const codes = frozen.vqgan.weights['quantizer.embedding.weight']!.data;
    const ratio = own[0]! / codes[0]!;
    expectClose(
      [...own],
      [...codes].map((value) => value * ratio),
      { relative: 1e-5 },
    );
    expect(own.reduce((sum, value) => sum + value * value, 0) / own.length).toBeCloseTo(1, 4);
    await stage.close();
  });

  it('follows the VQGAN, and refuses what does not fit', () => {
    const { vqgan } = frozen;
    const derived = PreviewStage.config(tinyPreviewTraining({ model: 'preview-f8-2048' }), vqgan);
    expect(derived).toMatchObject({ gridSize: 4, codebookSize: TINY_VQGAN.codebookSize, patchSize: 2 });
    expect(previewMisfit(derived, vqgan.config)).toBeUndefined();
    expect(() => PreviewStage.config(tinyPreviewTraining({ model: 'preview-f16-16384' }), vqgan)).toThrow(
      /^model preview-f16-16384 does not fit the VQGAN .*picture of 16 pixels has a grid of 4/,
    );
    const model = { ...PreviewStage.config(tinyPreviewTraining(), vqgan), codebookSize: 17 };
    expect(() => PreviewStage.config(tinyPreviewTraining({ model }), vqgan)).toThrow(
      `model does not fit the VQGAN ${join(vqgan.folder)}: codebookSize must be the VQGAN's 16, is 17`,
    );
  });

  it('keeps pictures where they fit and nothing changes them', () => {
    const keeping = { augmentation: { flip: false, shiftPixels: 0, brightness: 0, contrast: 0, saturation: 0 } };
    const mebibyte = 2 ** 20 / (6 * 64 ** 2 + 4 * 64); // pictures of 64 pixels
    expect(canKeep({ ...keeping, keepMegabytes: 1 }, Math.floor(mebibyte), 64, 64)).toBe(true);
    expect(canKeep({ ...keeping, keepMegabytes: 1 }, Math.ceil(mebibyte), 64, 64)).toBe(false);
    const flipped = { augmentation: { ...keeping.augmentation, flip: true }, keepMegabytes: 1000 };
    expect(canKeep(flipped, 1, 64, 64)).toBe(false);
  });
});
