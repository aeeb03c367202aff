import { ClipGenError } from '@clip-gen/errors';
import { tensor } from '@clip-gen/tensor';
import type { Augmentation } from './crop-pixels.ts';
import { captionVariant } from './epoch-order.ts';
import type { ImageBatch } from './image-batch.ts';
import type { BatchResult, CachedPicture, DecodeSettings } from './worker-messages.ts';
import type { WorkerPool } from './worker-pool.ts';

/** Broken pictures in a row after which a dataset that is not cached is given up. */
const MAX_REPLACEMENTS = 100;

/** The pictures of a dataset and what makes batches of them. */
export interface DatasetPictures {
  readonly imageSize: number;
  readonly settings: DecodeSettings;
  readonly files: readonly string[];
  /** Per picture its captions, at least one each. */
  readonly captions?: readonly (readonly string[])[];
  /** Per picture its place in the cache; undefined when pictures are decoded each time. */
  readonly places?: readonly CachedPicture[];
  readonly pool: WorkerPool;
  /** Told of each broken file once. */
  readonly noteBroken: (file: string, reason: string) => void;
  /** Files known to be broken; shared by all views of the dataset. */
  readonly broken: { has(file: string): boolean };
}

/** What the random draws of an epoch depend on. */
export interface EpochDraws {
  readonly training: boolean;
  readonly seed: number;
  readonly epoch: number;
  readonly augmentation: Augmentation;
}

/** Makes the batches of one epoch, in any order. */
export class BatchMaker {
  constructor(
    private readonly pictures: DatasetPictures,
    private readonly order: Uint32Array,
    private readonly draws: EpochDraws,
  ) {}

  /**
   * One batch. A picture that turns out to be broken is replaced by the next readable one of the order in training,
   * and left out otherwise.
   *
   * @param first place in the order of its first picture
   * @param size pictures; fewer where the order ends
   */
  async make(step: number, first: number, size: number): Promise<ImageBatch> {
    const places = Array.from({ length: Math.min(size, this.order.length - first) }, (_, i) => first + i);
    const chosen = places.map((place) => this.#ahead(place, 0));
    const result = await this.#run(places, chosen);
    const failed = result.failures.map(({ item }) => item);
    let { pixels } = result;
    if (this.draws.training) {
      for (const item of failed) await this.#replace(item, places[item]!, chosen, pixels);
    } else if (failed.length === places.length) {
      throw this.#unreadable(places.length, first);
    } else if (failed.length > 0) {
      pixels = without(pixels, places.length, new Set(failed));
      for (const item of failed.sort((a, b) => b - a)) {
        chosen.splice(item, 1);
        places.splice(item, 1);
      }
    }
    return this.#batch(step, places, chosen, pixels);
  }

  #batch(step: number, places: number[], chosen: number[], pixels: Float32Array<ArrayBuffer>): ImageBatch {
    const { imageSize, captions } = this.pictures;
    const { training, seed, epoch } = this.draws;
    const batch: ImageBatch = {
      step,
      images: tensor('float32', [chosen.length, 3, imageSize, imageSize], pixels),
      indices: Int32Array.from(chosen),
    };
    if (captions === undefined) return batch;
    const texts = chosen.map((index, i) => {
      const variants = captions[index]!;
      return variants[training ? captionVariant(variants.length, seed, epoch, places[i]!) : 0]!;
    });
    return { ...batch, captions: texts };
  }

  /** Draws pictures for a place until one can be read, and puts it into its row of the batch. */
  async #replace(item: number, place: number, chosen: number[], pixels: Float32Array): Promise<void> {
    const values = pixels.length / chosen.length;
    for (let tries = 1; tries <= MAX_REPLACEMENTS; tries++) {
      const index = this.#ahead(place, tries);
      if (this.pictures.broken.has(this.pictures.files[index]!)) continue;
      const result = await this.#run([place], [index]);
      if (result.failures.length > 0) continue;
      pixels.set(result.pixels, item * values);
      chosen[item] = index;
      return;
    }
    throw this.#unreadable(MAX_REPLACEMENTS, place);
  }

  #unreadable(count: number, place: number): ClipGenError {
    const { files, settings } = this.pictures;
    const file = files[this.#ahead(place, 0)];
    return new ClipGenError(
      'data_corrupt',
      `image folder ${settings.root} has ${count} unreadable pictures in a row, from ${file} on; check the folder`,
    );
  }

  /** The picture `ahead` places further on in the order, which is taken as a ring. */
  #ahead(place: number, ahead: number): number {
    return this.order[(place + ahead) % this.order.length]!;
  }

  async #run(places: readonly number[], chosen: readonly number[]): Promise<BatchResult> {
    const { files, settings, imageSize, pool, noteBroken } = this.pictures;
    const items = places.map((place, i) => {
      const index = chosen[i]!;
      return { place, picture: this.pictures.places?.[index] ?? files[index]! };
    });
    const result = await pool.run({ kind: 'batch', settings, imageSize, items, ...this.draws });
    for (const { item, reason } of result.failures) noteBroken(files[chosen[item]!]!, reason);
    return result;
  }
}

/** The rows of a batch that did not fail. */
function without(pixels: Float32Array, rows: number, failed: ReadonlySet<number>): Float32Array<ArrayBuffer> {
  const values = pixels.length / rows;
  const kept = new Float32Array((rows - failed.size) * values);
  for (let row = 0, to = 0; row < rows; row++) {
    if (failed.has(row)) continue;
    kept.set(pixels.subarray(row * values, (row + 1) * values), to);
    to += values;
  }
  return kept;
}
