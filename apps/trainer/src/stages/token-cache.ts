import { createHash } from 'node:crypto';
import { mkdir, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { ImageDataset } from '@clip-gen/datasets';
import { ClipGenError } from '@clip-gen/errors';
import { openSafetensors, writeSafetensors } from '@clip-gen/safetensors';
import { emptyTensor, type DType, type Tensor } from '@clip-gen/tensor';
import { gridSide } from '@clip-gen/vqgan';
import type { ProgressLine } from '../progress-line.ts';
import type { World } from '../distributed/world.ts';
import { encodePictures, type PictureTokens } from './encode-pictures.ts';
import type { FrozenModels } from './frozen-models.ts';

/** Part of the key: a new way to make the same tokens gets another. */
const FORMAT = 1;

export interface TokenCacheOptions {
  /** Where the cache files lie. */
  readonly folder: string;
  /** The folder of the pictures. */
  readonly root: string;
  /** Threads of the engine; 0 = all cores. */
  readonly threads: number;
  readonly line: ProgressLine;
  /** Called between batches; what it throws ends the work, and nothing is kept. */
  readonly checkStop?: () => void;
}

/**
 * Tokens and embeddings of every picture, from the cache if they were made of the same pictures with the same models,
 * otherwise computed and kept there. A damaged cache file is named and made again.
 */
export async function pictureTokens(
  dataset: ImageDataset,
  frozen: FrozenModels,
  options: TokenCacheOptions,
): Promise<PictureTokens> {
  const path = await cachePath(dataset, frozen, options);
  const known = await knownTokens(path, dataset, frozen, options.line);
  if (known) return known;
  const made = await encodePictures(dataset, frozen, options.threads, options.line, options.checkStop);
  await writeTokens(path, made);
  return made;
}

/**
 * The same for several processes: rank 0 alone reads and writes the cache; what nobody has each process makes a part of.
 * All end with the same bits.
 *
 * @param known what this process has already, where the processes come together again
 */
export async function sharedPictureTokens(
  dataset: ImageDataset,
  frozen: FrozenModels,
  options: TokenCacheOptions,
  world: World,
  known?: PictureTokens,
): Promise<PictureTokens> {
  if (world.size === 1) return pictureTokens(dataset, frozen, options);
  const { line, threads, checkStop } = options;
  const path = await cachePath(dataset, frozen, options);
  const own = known ?? (world.isFirst ? await knownTokens(path, dataset, frozen, line) : undefined);
  const rows = (await world.numbers([own?.tokens.shape[0] ?? -1])).map(([count]) => count!);
  const root = rows.findIndex((count) => count >= 0);
  if (root >= 0) {
    const all = own ?? emptyTokens(rows[root]!, frozen);
    await world.broadcast([all.tokens, all.embeddings], root);
    return all;
  }
  const size = Math.ceil(dataset.length / world.size);
  const files = new Set(dataset.files.slice(world.rank * size, (world.rank + 1) * size));
  const part =
    files.size === 0
      ? emptyTokens(0, frozen)
      : await encodePictures(
          dataset.subset((file) => files.has(file)),
          frozen,
          threads,
          line,
          checkStop,
        );
  const all = await gathered(part, size, frozen, world);
  if (world.isFirst) await writeTokens(path, all);
  return all;
}

/** The parts of all processes one after the other. @param size most rows that one can have */
async function gathered(part: PictureTokens, size: number, frozen: FrozenModels, world: World): Promise<PictureTokens> {
  const counts = (await world.numbers([part.tokens.shape[0]!])).map(([count]) => count!);
  const all = emptyTokens(
    counts.reduce((sum, count) => sum + count, 0),
    frozen,
  );
  for (const name of ['tokens', 'embeddings'] as const) {
    const width = all[name].shape[1]!;
    const own = new Float32Array(size * width);
    own.set(part[name].data); // tokens are far below 2^24, where float32 begins to round
    const rows = await world.gather(own);
    let at = 0;
    for (const [rank, count] of counts.entries()) {
      all[name].data.set(rows.subarray(rank * size * width, (rank * size + count) * width), at);
      at += count * width;
    }
  }
  return all;
}

function emptyTokens(rows: number, { vqgan, clip }: FrozenModels): PictureTokens {
  return {
    tokens: emptyTensor('int32', [rows, gridSide(vqgan.config) ** 2]),
    embeddings: emptyTensor('float32', [rows, clip.config.embeddingSize]),
  };
}

async function cachePath(dataset: ImageDataset, frozen: FrozenModels, options: TokenCacheOptions): Promise<string> {
  const key = await cacheKey(dataset, frozen, options.root);
  return join(options.folder, `tokens-${key.slice(0, 16)}.safetensors`);
}

/** None where there is no file, or a damaged one, which is named. */
async function knownTokens(
  path: string,
  dataset: ImageDataset,
  frozen: FrozenModels,
  line: ProgressLine,
): Promise<PictureTokens | undefined> {
  try {
    if (await stat(path).catch(() => undefined)) return await readTokens(path, dataset, frozen);
  } catch (error) {
    if (!(error instanceof ClipGenError) || error.code !== 'data_corrupt') throw error;
    line.print(`${error.message}; encoding the pictures again`);
  }
  return undefined;
}

async function writeTokens(path: string, made: PictureTokens): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  const tensors = [
    ['tokens', made.tokens],
    ['embeddings', made.embeddings],
  ] as const;
  await writeSafetensors(path, tensors, { sha256: hashOf(made) });
}

/** Of the models and of the pictures: their names, sizes and times of change. */
async function cacheKey(dataset: ImageDataset, { vqgan, clip }: FrozenModels, root: string): Promise<string> {
  const key = createHash('sha256').update(JSON.stringify([FORMAT, vqgan.hash, clip.hash, dataset.imageSize]));
  for (const file of dataset.files) {
    const found = await stat(join(root, file)).catch(() => undefined);
    key.update(JSON.stringify([file, found?.size, found?.mtimeMs]));
  }
  return key.digest('hex');
}

/** @throws data_corrupt for anything but what was written for these pictures and models */
async function readTokens(path: string, dataset: ImageDataset, { vqgan, clip }: FrozenModels): Promise<PictureTokens> {
  const file = await openSafetensors(path);
  try {
    const rows = file.entries.get('tokens')?.shape[0] ?? 0;
    const take = async <D extends DType>(name: string, dtype: D, width: number): Promise<Tensor<D>> => {
      const entry = file.entries.get(name);
      const right = entry?.dtype === dtype && entry.shape.join() === [rows, width].join();
      if (!right || rows > dataset.length) throw new ClipGenError('data_corrupt', `cache ${path} lacks its ${name}`);
      return (await file.read(name)) as Tensor<D>;
    };
    const found = {
      tokens: await take('tokens', 'int32', gridSide(vqgan.config) ** 2),
      embeddings: await take('embeddings', 'float32', clip.config.embeddingSize),
    };
    if (hashOf(found) !== file.metadata.get('sha256')) {
      throw new ClipGenError('data_corrupt', `cache ${path} has another checksum`);
    }
    return found;
  } finally {
    await file.close();
  }
}

function hashOf({ tokens, embeddings }: PictureTokens): string {
  return createHash('sha256').update(tokens.data).update(embeddings.data).digest('hex');
}
