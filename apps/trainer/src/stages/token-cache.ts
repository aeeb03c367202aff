import { createHash } from 'node:crypto';
import { mkdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { ImageDataset } from '@clip-gen/datasets';
import { ClipGenError } from '@clip-gen/errors';
import { openSafetensors, writeSafetensors } from '@clip-gen/safetensors';
import type { DType, Tensor } from '@clip-gen/tensor';
import { gridSide } from '@clip-gen/vqgan';
import type { ProgressLine } from '../progress-line.ts';
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
  const { folder, line } = options;
  const key = await cacheKey(dataset, frozen, options.root);
  const path = join(folder, `tokens-${key.slice(0, 16)}.safetensors`);
  try {
    if (await stat(path).catch(() => undefined)) return await readTokens(path, dataset, frozen);
  } catch (error) {
    if (!(error instanceof ClipGenError) || error.code !== 'data_corrupt') throw error;
    line.print(`${error.message}; encoding the pictures again`);
  }
  const made = await encodePictures(dataset, frozen, options.threads, line, options.checkStop);
  await mkdir(folder, { recursive: true });
  const tensors = [
    ['tokens', made.tokens],
    ['embeddings', made.embeddings],
  ] as const;
  await writeSafetensors(path, tensors, { sha256: hashOf(made) });
  return made;
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
