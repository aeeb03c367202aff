import { createHash } from 'node:crypto';
import { invalidArgument } from '@clip-gen/errors';
import { BatchMaker, type DatasetPictures } from './batch-maker.ts';
import type { Augmentation } from './crop-pixels.ts';
import { batchCount, epochOrder } from './epoch-order.ts';
import type { ImageBatch } from './image-batch.ts';
import { prefetched } from './prefetched.ts';

/** What was found when a folder was opened. */
export interface DatasetSummary {
  /** Pictures found in the folder, or given as `files`. */
  readonly found: number;
  /** Pictures that can be drawn. When they are not cached, a broken one is only noticed when its turn comes. */
  readonly readable: number;
  /** Pictures left out because they cannot be read, and why. Grows while pictures that are not cached are read. */
  readonly broken: readonly { readonly file: string; readonly reason: string }[];
  /** Pictures left out because no caption names them. */
  readonly uncaptioned: number;
  /** Whether the decoded pictures are kept in memory, and their bytes. */
  readonly cached: boolean;
  readonly cachedBytes: number;
}

/** Which batches of an epoch, and how their pictures are cut. */
export interface BatchOptions {
  /** Pictures of a whole batch, all parts together. */
  readonly batchSize: number;
  /** One of several equal parts of each batch, for processes that share the work. Default: the whole. */
  readonly part?: BatchPart;
  /** Shuffled, randomly cropped, whole batches only; otherwise in order, middle crop, with a smaller last batch. */
  readonly training: boolean;
  /** Integer in [0, 2^53); 0 by default. */
  readonly seed?: number;
  /** uint32; 0 by default. */
  readonly epoch?: number;
  /** Batches of the epoch to pass over without decoding, in [0, batchCount]; 0 by default. */
  readonly startStep?: number;
  /** What happens to pictures in training besides the random crop; nothing by default. */
  readonly augmentation?: Augmentation;
  /** Batches prepared ahead, in [1, 64]; 3 by default. */
  readonly prefetch?: number;
}

/**
 * The pictures `index · batchSize / count` and on of each batch: exactly those that the whole batch has there, whatever
 * the number of parts. Of a smaller last batch a part may be smaller, or there is none.
 */
export interface BatchPart {
  /** In [0, count). */
  readonly index: number;
  /** Divides the batch size. */
  readonly count: number;
}

/**
 * Pictures of a folder as batches, made off the main thread. A batch is a function of the files, the options and
 * (seed, epoch, step) alone. Made by `openImageDataset`.
 */
export class ImageDataset {
  readonly #pictures: DatasetPictures;
  readonly #release: () => Promise<void>;

  /** @param release ends what the pictures depend on */
  constructor(
    readonly summary: DatasetSummary,
    pictures: DatasetPictures,
    release: () => Promise<void>,
  ) {
    this.#pictures = pictures;
    this.#release = release;
  }

  /** Pictures that can be drawn. */
  get length(): number {
    return this.#pictures.files.length;
  }

  /** Paths relative to the folder; a batch's `indices` count in this list. */
  get files(): readonly string[] {
    return this.#pictures.files;
  }

  /** Side of the pictures in a batch. */
  get imageSize(): number {
    return this.#pictures.imageSize;
  }

  /** All captions of a picture; empty when the dataset was opened without. */
  captionsOf(index: number): readonly string[] {
    return this.#pictures.captions?.[index] ?? [];
  }

  /** Names the pictures, their order and their captions: equal for equal content of these lists. 16 hex digits. */
  fingerprint(): string {
    const hash = createHash('sha256');
    this.files.forEach((file, i) => hash.update(JSON.stringify([file, ...this.captionsOf(i)])));
    return hash.digest('hex').slice(0, 16);
  }

  /** Batches of an epoch. */
  batchCount(batchSize: number, training: boolean): number {
    return batchCount(this.length, batchSize, training);
  }

  /**
   * The batches of one epoch, from `startStep` on. Work starts with the first `next()`; leaving the loop stops it.
   *
   * @throws invalid_argument at once for an option out of bounds, or when training has fewer pictures than a batch
   */
  batches(options: BatchOptions): AsyncGenerator<ImageBatch, void, undefined> {
    const { batchSize, training, seed = 0, epoch = 0, startStep = 0, augmentation = {}, prefetch = 3 } = options;
    const { part = { index: 0, count: 1 } } = options;
    const count = this.batchCount(batchSize, training);
    if (training && batchSize > this.length) {
      throw invalidArgument('batchSize', `at most the number of pictures, ${this.length}`, batchSize);
    }
    if (!Number.isSafeInteger(seed) || seed < 0) throw invalidArgument('seed', 'an integer in [0, 2^53)', seed);
    if (!Number.isInteger(epoch) || epoch < 0 || epoch > 0xffff_ffff) {
      throw invalidArgument('epoch', 'an integer in [0, 2^32)', epoch);
    }
    if (!Number.isInteger(startStep) || startStep < 0 || startStep > count) {
      throw invalidArgument('startStep', `an integer in [0, ${count}]`, startStep);
    }
    if (!Number.isInteger(prefetch) || prefetch < 1 || prefetch > 64) {
      throw invalidArgument('prefetch', 'an integer in [1, 64]', prefetch);
    }
    checkPart(part, batchSize);
    checkAugmentation(augmentation, this.imageSize);
    const size = batchSize / part.count;
    const firstOf = (step: number): number => step * batchSize + part.index * size;
    // Only of a smaller last batch a part can be missing.
    const steps = count > startStep && firstOf(count - 1) >= this.length ? count - 1 : count;
    const draws = { training, seed, epoch, augmentation };
    let maker: BatchMaker | undefined;
    return prefetched(startStep, steps, prefetch, (step) => {
      maker ??= new BatchMaker(this.#pictures, epochOrder(this.length, training, seed, epoch), draws);
      return maker.make(step, firstOf(step), size);
    });
  }

  /**
   * The pictures that pass, as a dataset over the same memory and threads. Closing it does nothing: close the dataset
   * that was opened.
   *
   * @throws invalid_argument when no picture passes
   */
  subset(keep: (file: string) => boolean): ImageDataset {
    const kept = this.files.flatMap((file, i) => (keep(file) ? [i] : []));
    if (kept.length === 0) throw invalidArgument('subset', `at least one of ${this.length} pictures`, 'none');
    const { files, captions, places } = this.#pictures;
    const pictures = {
      ...this.#pictures,
      files: kept.map((i) => files[i]!),
      captions: captions && kept.map((i) => captions[i]!),
      places: places && kept.map((i) => places[i]!),
    };
    return new ImageDataset(this.summary, pictures, async () => undefined);
  }

  /** Ends the worker threads. Batches under way are rejected as cancelled. */
  close(): Promise<void> {
    return this.#release();
  }
}

function checkPart({ index, count }: BatchPart, batchSize: number): void {
  if (!Number.isInteger(count) || count < 1 || batchSize % count !== 0) {
    throw invalidArgument('part.count', `a divisor of batchSize, ${batchSize}`, count);
  }
  if (!Number.isInteger(index) || index < 0 || index >= count) {
    throw invalidArgument('part.index', `an integer in [0, ${count - 1}]`, index);
  }
}

function checkAugmentation(augmentation: Augmentation, imageSize: number): void {
  const { shiftPixels = 0, brightness = 0, contrast = 0, saturation = 0 } = augmentation;
  if (!Number.isInteger(shiftPixels) || shiftPixels < 0 || shiftPixels > imageSize / 2) {
    throw invalidArgument('shiftPixels', `an integer in [0, ${Math.floor(imageSize / 2)}]`, shiftPixels);
  }
  for (const [name, spread] of Object.entries({ brightness, contrast, saturation })) {
    if (!(spread >= 0 && spread <= 1)) throw invalidArgument(name, 'in [0, 1]', spread);
  }
}
