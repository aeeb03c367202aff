import { join } from 'node:path';
import { ClipGenError } from '@clip-gen/errors';
import { decodeImage, type RgbImage } from '@clip-gen/image';
import { centrePlan, cropPixels, drawPlan } from './crop-pixels.ts';
import { augmentStream } from './epoch-order.ts';
import type {
  BatchJob,
  BatchResult,
  CachedPicture,
  DecodeJob,
  DecodeResult,
  DecodeSettings,
} from './worker-messages.ts';

/** Pictures in flight at once; as many as libuv has threads. */
const SIDE_BY_SIDE = 4;

/** The longer side is kept up to this many times the shorter one: what a crop can reach, within bounded memory. */
const MAX_ASPECT_RATIO = 4;

/** Decodes every file of a job into one shared buffer. A file that cannot be read gives its reason instead. */
export async function decodeFiles(job: DecodeJob): Promise<DecodeResult> {
  const images: (RgbImage | string)[] = new Array<RgbImage | string>(job.files.length);
  await eachSideBySide(job.files.length, async (i) => {
    images[i] = await decodeOrReason(job.settings, job.files[i]!);
  });
  const bytes = images.reduce((sum, image) => sum + (typeof image === 'string' ? 0 : image.data.length), 0);
  const pixels = new SharedArrayBuffer(bytes);
  const all = new Uint8Array(pixels);
  let offset = 0;
  const pictures = images.map((image) => {
    if (typeof image === 'string') return image;
    const place = { offset, width: image.width, height: image.height };
    all.set(image.data, offset);
    offset += image.data.length;
    return place;
  });
  return { pixels, pictures };
}

/** Cuts the pictures of a job into one float32 batch, decoding those that are not cached. */
export async function assembleBatch(job: BatchJob, chunks: readonly SharedArrayBuffer[]): Promise<BatchResult> {
  const { imageSize, items } = job;
  const values = 3 * imageSize * imageSize;
  const pixels = new Float32Array(items.length * values);
  const failures: { item: number; reason: string }[] = [];
  const place = (image: RgbImage, item: number): void => {
    const plan = job.training
      ? drawPlan(
          image.width,
          image.height,
          imageSize,
          job.augmentation,
          augmentStream(job.seed, job.epoch, items[item]!.place),
        )
      : centrePlan(image.width, image.height, imageSize);
    cropPixels(image, imageSize, plan, pixels, item * values);
  };
  await eachSideBySide(items.length, async (item) => {
    const { picture } = items[item]!;
    const image = typeof picture === 'string' ? await decodeOrReason(job.settings, picture) : cached(picture, chunks);
    if (typeof image === 'string') failures.push({ item, reason: image });
    else place(image, item);
  });
  return { pixels, failures };
}

function cached({ chunk, offset, width, height }: CachedPicture, chunks: readonly SharedArrayBuffer[]): RgbImage {
  const pixels = chunks[chunk];
  if (pixels === undefined) throw new ClipGenError('internal', `picture cache must hold chunk ${chunk}`);
  return { width, height, data: new Uint8Array(pixels, offset, width * height * 3) };
}

async function decodeOrReason(settings: DecodeSettings, file: string): Promise<RgbImage | string> {
  try {
    return await decodeImage(join(settings.root, file), {
      name: file,
      resizeShortSide: settings.shortSide,
      maxAspectRatio: MAX_ASPECT_RATIO,
      maxPixels: settings.maxPixels,
      maxBytes: settings.maxFileBytes,
    });
  } catch (error) {
    if (error instanceof ClipGenError) return error.message;
    throw error;
  }
}

async function eachSideBySide(count: number, work: (index: number) => Promise<void>): Promise<void> {
  let next = 0;
  const lane = async (): Promise<void> => {
    while (next < count) await work(next++);
  };
  await Promise.all(Array.from({ length: Math.min(SIDE_BY_SIDE, count) }, lane));
}
