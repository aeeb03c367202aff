import { createHash } from 'node:crypto';
import { mkdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { ImageDataset } from '@clip-gen/datasets';
import { ClipGenError } from '@clip-gen/errors';
import { openSafetensors, writeSafetensors } from '@clip-gen/safetensors';
import { elementCount, emptyTensor, tensor, type DType, type Tensor } from '@clip-gen/tensor';
import { gridSide } from '@clip-gen/vqgan';
import type { PreviewTraining } from '../config.ts';
import type { ProgressLine } from '../progress-line.ts';
import { picturesKey } from './pictures-key.ts';
import { levelOf, pixelOf, type PreviewExamples, type PreviewTeacher } from './preview-teacher.ts';

/** Part of the key: a new way to make the same examples gets another. */
const FORMAT = 1;
const MEGABYTE = 2 ** 20;

/** Pictures, what they are kept as, and how much memory that may take. */
type Keeping = Pick<PreviewTraining, 'augmentation' | 'keepMegabytes'>;

/** Whether the examples of so many pictures are made once: where no epoch sees them otherwise and memory suffices. */
export function canKeep(
  { augmentation, keepMegabytes }: Keeping,
  pictures: number,
  side: number,
  tokens: number,
): boolean {
  const changes = Object.values(augmentation).some((value) => value !== false && value !== 0);
  return !changes && pictures * bytesOf(side, tokens) <= keepMegabytes * MEGABYTE;
}

/** Of one picture: both pictures in 8 bits, and the tokens. */
function bytesOf(side: number, tokens: number): number {
  return 2 * 3 * side * side + 4 * tokens;
}

/** Where examples come from, and where they stay for the next start. */
export interface KeepingOptions {
  /** Folder of the cache file. */
  readonly folder: string;
  /** The folder of the pictures. */
  readonly root: string;
  /** Whether this process writes the file. */
  readonly writes: boolean;
  readonly line: ProgressLine;
  /** Called between batches; what it throws ends the work, and nothing is kept. */
  readonly checkStop: () => void;
}

/** Examples of all pictures of a data set in memory, from their middle crops. */
export class KeptExamples {
  /** Pictures, without those that could not be read. */
  readonly length: number;
  readonly #tokens: Tensor<'int32'>;
  readonly #target: Tensor<'uint8'>;
  readonly #original: Tensor<'uint8'>;

  private constructor({ tokens, target, original }: Kept) {
    this.length = tokens.shape[0]!;
    this.#tokens = tokens;
    this.#target = target;
    this.#original = original;
  }

  /** From the cache file if it was made of the same pictures with the same VQGAN, else made, and kept there. */
  static async open(dataset: ImageDataset, teacher: PreviewTeacher, options: KeepingOptions): Promise<KeptExamples> {
    const key = await picturesKey(dataset, options.root, [FORMAT, teacher.frozen.hash]);
    const path = join(options.folder, `preview-${key.slice(0, 16)}.safetensors`);
    try {
      const known = await readKept(path, dataset, gridSide(teacher.frozen.config) ** 2);
      if (known) return new KeptExamples(known);
    } catch (error) {
      if (!(error instanceof ClipGenError) || error.code !== 'data_corrupt') throw error;
      options.line.print(`${error.message}; decoding the pictures again`);
    }
    const made = await makeKept(dataset, teacher, options);
    if (options.writes) {
      await mkdir(options.folder, { recursive: true });
      await writeSafetensors(path, Object.entries(made), { sha256: hashOf(made) });
    }
    return new KeptExamples(made);
  }

  /** Examples of some pictures, by their numbers. */
  take(rows: ArrayLike<number>): PreviewExamples {
    const shape = [rows.length, ...this.#target.shape.slice(1)];
    const count = this.#tokens.shape[1]!;
    const values = elementCount(shape.slice(1));
    const tokens = emptyTensor('int64', [rows.length, count]);
    const target = emptyTensor('float32', shape);
    const original = emptyTensor('float32', shape);
    for (let b = 0; b < rows.length; b++) {
      const row = rows[b]!;
      for (let i = 0; i < count; i++) tokens.data[b * count + i] = BigInt(this.#tokens.data[row * count + i]!);
      for (let i = 0; i < values; i++) {
        target.data[b * values + i] = pixelOf(this.#target.data[row * values + i]!);
        original.data[b * values + i] = pixelOf(this.#original.data[row * values + i]!);
      }
    }
    return { tokens, target, original };
  }
}

/** Examples of N pictures: tokens (N, g·g), the VQGAN's pictures and the pictures, 8-bit levels (N, 3, S, S). */
interface Kept {
  readonly tokens: Tensor<'int32'>;
  readonly target: Tensor<'uint8'>;
  readonly original: Tensor<'uint8'>;
}

async function makeKept(dataset: ImageDataset, teacher: PreviewTeacher, options: KeepingOptions): Promise<Kept> {
  const { line, checkStop } = options;
  const side = dataset.imageSize;
  const count = gridSide(teacher.frozen.config) ** 2;
  const values = 3 * side * side;
  const tokens = new Int32Array(dataset.length * count);
  const target = new Uint8Array(dataset.length * values);
  const original = new Uint8Array(dataset.length * values);
  const started = performance.now();
  let done = 0;
  for await (const { images } of dataset.batches({ batchSize: teacher.batch, training: false })) {
    checkStop();
    const made = await teacher.examples(images);
    made.tokens.data.forEach((token, i) => (tokens[done * count + i] = Number(token)));
    made.target.data.forEach((pixel, i) => (target[done * values + i] = levelOf(pixel)));
    images.data.forEach((pixel, i) => (original[done * values + i] = levelOf(pixel)));
    done += images.shape[0]!;
    const seconds = (performance.now() - started) / 1000;
    line.update({
      stage: 'decoding pictures',
      epoch: 0,
      epochs: 1,
      step: done,
      stepsPerEpoch: dataset.length,
      metrics: {},
      imagesPerSecond: done / seconds,
      secondsLeft: ((dataset.length - done) * seconds) / done,
    });
  }
  const shape = [done, 3, side, side];
  return {
    tokens: tensor('int32', [done, count], tokens.subarray(0, done * count)),
    target: tensor('uint8', shape, target.subarray(0, done * values)),
    original: tensor('uint8', shape, original.subarray(0, done * values)),
  };
}

/** @throws data_corrupt for anything but what was written for these pictures and this VQGAN */
async function readKept(path: string, dataset: ImageDataset, count: number): Promise<Kept | undefined> {
  if (!(await stat(path).catch(() => undefined))) return undefined;
  const file = await openSafetensors(path);
  try {
    const rows = Math.min(dataset.length, file.entries.get('tokens')?.shape[0] ?? 0);
    const take = async <D extends DType>(name: string, dtype: D, shape: readonly number[]): Promise<Tensor<D>> => {
      const entry = file.entries.get(name);
      if (entry?.dtype === dtype && entry.shape.join() === shape.join()) return (await file.read(name)) as Tensor<D>;
      throw new ClipGenError('data_corrupt', `cache ${path} lacks its ${name}`);
    };
    const shape = [rows, 3, dataset.imageSize, dataset.imageSize];
    const found = {
      tokens: await take('tokens', 'int32', [rows, count]),
      target: await take('target', 'uint8', shape),
      original: await take('original', 'uint8', shape),
    };
    if (hashOf(found) === file.metadata.get('sha256')) return found;
    throw new ClipGenError('data_corrupt', `cache ${path} has another checksum`);
  } finally {
    await file.close();
  }
}

function hashOf({ tokens, target, original }: Kept): string {
  return createHash('sha256').update(tokens.data).update(target.data).update(original.data).digest('hex');
}
