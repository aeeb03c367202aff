import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { encodeImage, tensorToImages } from '@clip-gen/image';
import type { ImageBatch } from './image-batch.ts';
import type { BatchOptions, ImageDataset } from './image-dataset.ts';
import { openImageDataset, type ImageDatasetOptions } from './open-image-dataset.ts';

// Every dataset starts a thread that compiles TypeScript: seconds on a busy machine.
vi.setConfig({ testTimeout: 180_000 });

const COUNT = 23;
let root = '';
const opened: ImageDataset[] = [];
const warnings: string[] = [];

/** Picture i has i as its level of red, and its green rises to the right. */
async function writePicture(file: string, i: number, width = 12, height = 8): Promise<void> {
  const data = Uint8Array.from({ length: width * height * 3 }, (_, at) =>
    at % 3 === 0 ? i : at % 3 === 1 ? Math.floor(at / 3) % width : 99,
  );
  await writeFile(join(root, file), await encodeImage({ width, height, data }, { format: 'png' }));
}

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'clip-gen-dataset-'));
  await mkdir(join(root, 'sub'));
  const lines: string[] = [];
  for (let i = 0; i < COUNT; i++) {
    const file = `${i % 2 ? 'sub/' : ''}${String(i).padStart(2, '0')}.png`;
    await writePicture(file, i);
    lines.push(JSON.stringify({ file, captions: [`picture ${i}`, `${i} again`] }));
  }
  await writeFile(join(root, 'captions.jsonl'), lines.join('\n'));
});
afterAll(() => rm(root, { recursive: true }));
afterEach(async () => {
  await Promise.all(opened.splice(0).map((dataset) => dataset.close()));
  warnings.length = 0;
});

async function open(options: Partial<ImageDatasetOptions> = {}): Promise<ImageDataset> {
  const warn = (message: string): number => warnings.push(message);
  const dataset = await openImageDataset({ root, imageSize: 8, workers: 1, warn, ...options });
  opened.push(dataset);
  return dataset;
}

async function collect(dataset: ImageDataset, options: BatchOptions): Promise<ImageBatch[]> {
  const batches: ImageBatch[] = [];
  for await (const batch of dataset.batches(options)) batches.push(batch);
  return batches;
}

const training = { training: true, batchSize: 4, seed: 5 } as const;

/** The number that a batch's row shows in red. */
const shown = (batch: ImageBatch): number[] => tensorToImages(batch.images).map((image) => image.data[0]!);
const numbers = (dataset: ImageDataset, batch: ImageBatch): number[] =>
  [...batch.indices].map((index) => Number(dataset.files[index]!.slice(-6, -4)));

describe.each([
  ['cached', undefined],
  ['decoded each time', 0],
])('a dataset that is %s', (_, cacheBytes) => {
  it.each([true, false])(
    'parts a batch without a picture twice, none left out, each as it was: training %s',
    async (trains) => {
      const dataset = await open({ cacheBytes, captions: true });
      const options = {
        training: trains,
        batchSize: 6,
        seed: 5,
        epoch: 1,
        augmentation: { flip: true, brightness: 0.5 },
      };
      const whole = await collect(dataset, options); // 3 of 6, then 5 in validation
      for (const count of [1, 2, 3, 6]) {
        const parts = await Promise.all(
          Array.from({ length: count }, (_, index) => collect(dataset, { ...options, part: { index, count } })),
        );
        for (const batch of whole) {
          const found = parts.flatMap((batches) => batches.filter(({ step }) => step === batch.step));
          expect(found.flatMap(({ indices }) => [...indices])).toEqual([...batch.indices]);
          expect(found.flatMap(({ captions }) => captions)).toEqual(batch.captions);
          expect(found.flatMap(({ images }) => [...images.data])).toEqual([...batch.images.data]);
        }
      }
      const [late] = await collect(dataset, { ...options, part: { index: 1, count: 2 }, startStep: 2 });
      expect([...late!.indices]).toEqual([...whole[2]!.indices.subarray(3)]);
      expect(() => dataset.batches({ ...options, part: { index: 0, count: 4 } })).toThrow(
        'part.count must be a divisor',
      );
      expect(() => dataset.batches({ ...options, part: { index: 2, count: 2 } })).toThrow(
        'part.index must be an integer',
      );
    },
  );

  it('gives every picture once an epoch, in an order of its own, with its caption', async () => {
    const dataset = await open({ cacheBytes, captions: true });
    expect(dataset.summary).toMatchObject({ found: COUNT, readable: COUNT, uncaptioned: 0, broken: [] });
    expect(dataset.summary.cached).toBe(cacheBytes === undefined);
    const epochs = [];
    for (const epoch of [0, 1]) {
      const batches = await collect(dataset, { ...training, epoch });
      expect(batches.map(({ step }) => step)).toEqual([0, 1, 2, 3, 4]);
      for (const batch of batches) {
        expect(batch.images.shape).toEqual([4, 3, 8, 8]);
        expect(shown(batch)).toEqual(numbers(dataset, batch));
        batch.captions!.forEach((caption, i) => expect(dataset.captionsOf(batch.indices[i]!)).toContain(caption));
      }
      const all = batches.flatMap((batch) => [...batch.indices]);
      expect(new Set(all).size).toBe(20);
      epochs.push({ all, captions: batches.flatMap((batch) => batch.captions!) });
    }
    expect(epochs[0]!.all).not.toEqual(epochs[1]!.all);
    expect(epochs[0]!.captions.some((caption) => caption.endsWith('again'))).toBe(true);
    expect(epochs[0]!.captions.some((caption) => caption.startsWith('picture'))).toBe(true);
  });

  it('resumes inside an epoch exactly', async () => {
    const dataset = await open({ cacheBytes, captions: true });
    const options = { ...training, epoch: 3, augmentation: { flip: true, shiftPixels: 2, brightness: 0.2 } };
    const whole = await collect(dataset, options);
    for (const startStep of [1, 4]) {
      expect(await collect(dataset, { ...options, startStep, prefetch: 1 })).toEqual(whole.slice(startStep));
    }
    expect(await collect(dataset, { ...options, startStep: 5 })).toEqual([]);
    expect(() => dataset.batches({ ...options, startStep: 6 })).toThrow(
      'startStep must be an integer in [0, 5]; got 6',
    );
    const other = await collect(dataset, { ...options, seed: 6 });
    expect(other[0]!.indices).not.toEqual(whole[0]!.indices);
  });

  it('validates in order, from the middle, with what is left over', async () => {
    const dataset = await open({ cacheBytes });
    const batches = await collect(dataset, { training: false, batchSize: 9 });
    expect(batches.flatMap((batch) => [...batch.indices])).toEqual(Array.from({ length: COUNT }, (_, i) => i));
    expect(batches[2]!.images.shape).toEqual([5, 3, 8, 8]);
    expect(batches[2]!.captions).toBeUndefined();
    const [first] = tensorToImages(batches[0]!.images);
    expect([...Array(8).keys()].map((x) => first!.data[x * 3 + 1])).toEqual([2, 3, 4, 5, 6, 7, 8, 9]);
  });
});

describe('openImageDataset', () => {
  it('makes the same batches with and without the cache, and with more threads', async () => {
    const augmentation = { flip: true, shiftPixels: 1, contrast: 0.3, saturation: 0.5 };
    const options = { ...training, epoch: 9, augmentation };
    const cached = await collect(await open({ imageSize: 6, resizeSize: 10 }), options);
    expect(await collect(await open({ imageSize: 6, resizeSize: 10, cacheBytes: 0 }), options)).toEqual(cached);
    expect(await collect(await open({ imageSize: 6, resizeSize: 10, workers: 2 }), options)).toEqual(cached);
    // Twelve by eight: fits as squares, but not as what it is.
    const over = await open({ cacheBytes: COUNT * 8 * 9 * 3 });
    expect(over.summary).toMatchObject({ cached: false, cachedBytes: 0 });
  });

  it('names broken pictures, leaves them out and goes on', async () => {
    const whole = await readFile(join(root, '00.png'));
    await writeFile(join(root, 'cut.png'), whole.subarray(0, whole.length - 30));
    await writeFile(join(root, 'text.jpg'), 'not a picture');
    try {
      const dataset = await open();
      expect(dataset.summary).toMatchObject({ found: COUNT + 2, readable: COUNT });
      expect(dataset.summary.broken.map(({ file }) => file)).toEqual(['cut.png', 'text.jpg']);
      expect(warnings).toHaveLength(2);
      expect(warnings[0]).toContain('image cut.png cannot be decoded');

      const streaming = await open({ cacheBytes: 0 });
      const epoch = await collect(streaming, { ...training, batchSize: 25 });
      expect(streaming.summary.broken.map(({ file }) => file).sort()).toEqual(['cut.png', 'text.jpg']);
      expect(epoch[0]!.indices).toHaveLength(25);
      expect(shown(epoch[0]!)).toEqual(numbers(streaming, epoch[0]!));
      expect(await collect(streaming, { ...training, batchSize: 25 })).toEqual(epoch);
      const checked = await collect(streaming, { training: false, batchSize: 25 });
      expect(checked[0]!.images.shape).toEqual([COUNT, 3, 8, 8]);
      expect(shown(checked[0]!)).toEqual(numbers(streaming, checked[0]!));
      expect(warnings).toHaveLength(4);

      for (const cacheBytes of [undefined, 0]) {
        const run = async (): Promise<unknown> =>
          collect(await open({ files: ['cut.png', 'text.jpg'], cacheBytes }), { training: true, batchSize: 1 });
        await expect(run()).rejects.toMatchObject({
          code: 'data_corrupt',
          message: expect.stringMatching(/cut\.png|text\.jpg/),
        });
      }
    } finally {
      await rm(join(root, 'cut.png'));
      await rm(join(root, 'text.jpg'));
    }
  });

  it('refuses what cannot work, naming it', async () => {
    await expect(open({ imageSize: 0 })).rejects.toThrow('imageSize must be an integer in [1, 4096]; got 0');
    await expect(open({ resizeSize: 7 })).rejects.toThrow('resizeSize must be an integer in [8, 8192]; got 7');
    await expect(open({ root: join(root, 'none') })).rejects.toMatchObject({ code: 'not_found' });
    const empty = await mkdtemp(join(tmpdir(), 'clip-gen-empty-'));
    await expect(open({ root: empty })).rejects.toThrow('holds no png, jpeg or webp picture');
    await writeFile(join(empty, 'captions.jsonl'), '{"file": "lost.png", "caption": "x"}');
    await writeFile(join(empty, 'found.png'), await readFile(join(root, '00.png')));
    await expect(open({ root: empty, captions: true })).rejects.toThrow('names missing pictures: lost.png');
    await rm(empty, { recursive: true });
    const dataset = await open();
    const max = 'batchSize must be at most the number of pictures, 23; got 24';
    expect(() => dataset.batches({ ...training, batchSize: 24 })).toThrow(max);
    expect(() => dataset.batches({ ...training, augmentation: { flip: true, contrast: 2 } })).toThrow(
      'contrast must be',
    );
    expect(() => dataset.batches({ ...training, epoch: -1 })).toThrow('epoch must be');
    expect(() => dataset.batches({ ...training, prefetch: 0 })).toThrow('prefetch must be');
  });

  it('shares memory with its subsets', async () => {
    const dataset = await open({ captions: true });
    const sub = dataset.subset((file) => file.startsWith('sub/'));
    expect(sub.length).toBe(11);
    const [batch] = await collect(sub, { training: false, batchSize: 11 });
    expect(shown(batch!)).toEqual(numbers(sub, batch!));
    expect(batch!.captions![0]).toBe('picture 1');
    expect(sub.fingerprint()).not.toBe(dataset.fingerprint());
    expect(sub.fingerprint()).toMatch(/^[0-9a-f]{16}$/);
    await sub.close();
    expect((await collect(dataset, training)).length).toBe(5);
  });

  it('rejects batches under way when it is closed, and later ones', async () => {
    const dataset = await open({ cacheBytes: 0 });
    const batches = dataset.batches(training);
    const first = batches.next();
    const rejected = expect(first).rejects.toMatchObject({ code: 'cancelled' });
    await dataset.close();
    await rejected;
    await expect(dataset.batches(training).next()).rejects.toMatchObject({ code: 'failed_precondition' });
    await dataset.close();
  });

  it('prepares no more than asked for', async () => {
    const dataset = await open();
    const before = await dataset.batches({ ...training, prefetch: 2 }).next();
    expect(before.value?.step).toBe(0);
    const iterator = dataset.batches({ ...training, prefetch: 64 });
    await iterator.next();
    await iterator.return();
    expect(await iterator.next()).toEqual({ done: true, value: undefined });
  });

  it('runs under tsx, and lets the process end by itself', async () => {
    const here = fileURLToPath(new URL('./index.ts', import.meta.url));
    const script = `
      const { openImageDataset } = await import(${JSON.stringify(here)});
      const dataset = await openImageDataset({ root: ${JSON.stringify(root)}, imageSize: 8 });
      for await (const batch of dataset.batches({ training: false, batchSize: 23 })) console.log(batch.images.data.length);
    `;
    const args = ['--import', 'tsx', '--input-type=module', '-e', script];
    const { stdout } = await promisify(execFile)(process.execPath, args, { timeout: 60_000 });
    expect(stdout.trim()).toBe(String(23 * 3 * 64));
  });
});
