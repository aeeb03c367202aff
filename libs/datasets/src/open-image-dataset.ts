import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { ClipGenError, invalidArgument } from '@clip-gen/errors';
import { DEFAULT_MAX_BYTES, DEFAULT_MAX_PIXELS } from '@clip-gen/image';
import { CAPTIONS_FILE, readCaptions } from './captions.ts';
import { ImageDataset } from './image-dataset.ts';
import { fillPictureCache } from './picture-cache.ts';
import { scanImageFolder } from './scan-image-folder.ts';
import { WorkerPool } from './worker-pool.ts';

/** Which folder, how its pictures are sized, and what may be spent on them. */
export interface ImageDatasetOptions {
  /** The folder; its pictures are found as by `scanImageFolder`. */
  readonly root: string;
  /** Side of the square pictures in a batch, 1–4096. */
  readonly imageSize: number;
  /** Shorter side that pictures are scaled to before they are cropped, at least `imageSize`, its default. */
  readonly resizeSize?: number;
  /** Give each picture one of its captions; pictures without are left out. Off by default. */
  readonly captions?: boolean;
  /** The captions file; `captions.jsonl` in the folder by default. */
  readonly captionsFile?: string;
  /** Only these files of the folder (relative paths), in this order; all of them by default. */
  readonly files?: readonly string[];
  /** Keep decoded pictures in memory up to this many bytes, else decode them each time; 2 GiB by default. */
  readonly cacheBytes?: number;
  /** Worker threads, 1–64. By default 1 with two cores, else two fewer than the cores, 4 at most. */
  readonly workers?: number;
  /** Most pixels of a picture; 100 million by default. */
  readonly maxPixels?: number;
  /** Most bytes of a picture's file; 256 MiB by default. */
  readonly maxFileBytes?: number;
  /** Told once of each picture that cannot be read, in one line; a process warning by default. */
  readonly warn?: (message: string) => void;
}

/** Cached pictures by default: 2 GiB. */
export const DEFAULT_CACHE_BYTES = 2 * 1024 ** 3;

/**
 * Opens a folder of pictures. When they fit into the cache each is decoded once, now, and those that cannot be read are
 * left out; otherwise each is decoded when its turn comes. The caller closes the dataset.
 *
 * @throws invalid_argument; not_found when the folder, or a picture that a caption names, does not exist; data_corrupt
 * for a malformed captions file or when no picture can be read
 */
export async function openImageDataset(options: ImageDatasetOptions): Promise<ImageDataset> {
  const { root, imageSize, resizeSize = imageSize, cacheBytes = DEFAULT_CACHE_BYTES } = options;
  const warn = options.warn ?? ((message: string) => process.emitWarning(message));
  const cores = availableParallelism();
  const workers = options.workers ?? Math.max(1, Math.min(4, cores - 2));
  checkInteger('imageSize', imageSize, 1, 4096);
  checkInteger('resizeSize', resizeSize, imageSize, 8192);
  checkInteger('workers', workers, 1, 64);
  if (!(cacheBytes >= 0)) throw invalidArgument('cacheBytes', 'non-negative', cacheBytes);

  const present = options.files ?? (await scanImageFolder(root));
  if (present.length === 0)
    throw new ClipGenError('not_found', `image folder ${root} holds no png, jpeg or webp picture`);
  const captionsFile = options.captionsFile ?? join(root, CAPTIONS_FILE);
  const captionsByFile = options.captions ? await readCaptions(captionsFile) : undefined;
  if (captionsByFile && options.files === undefined) checkPresent(captionsByFile, present, captionsFile);
  const files = captionsByFile ? present.filter((file) => captionsByFile.has(file)) : present;
  if (files.length === 0) {
    throw new ClipGenError(
      'data_corrupt',
      `captions file ${captionsFile} names none of the ${present.length} pictures`,
    );
  }

  const settings = {
    root,
    shortSide: resizeSize,
    maxPixels: options.maxPixels ?? DEFAULT_MAX_PIXELS,
    maxFileBytes: options.maxFileBytes ?? DEFAULT_MAX_BYTES,
  };
  const reasons = new Map<string, string>();
  const noteBroken = (file: string, reason: string): void => {
    if (reasons.has(file)) return;
    reasons.set(file, reason);
    warn(`left out: ${reason}`);
  };
  const pool = new WorkerPool(workers);
  try {
    const cache = await fillPictureCache(pool, settings, files, cacheBytes);
    if (cache) files.forEach((file, i) => typeof cache.pictures[i] === 'string' && noteBroken(file, cache.pictures[i]));
    const readable = files.filter((file) => !reasons.has(file));
    if (readable.length === 0) {
      const [first] = reasons.values();
      throw new ClipGenError('data_corrupt', `image folder ${root} must hold a readable picture; the first: ${first}`);
    }
    const summary = {
      found: present.length,
      readable: readable.length,
      uncaptioned: present.length - files.length,
      cached: cache !== undefined,
      cachedBytes: cache?.bytes ?? 0,
      get broken() {
        return Array.from(reasons, ([file, reason]) => ({ file, reason }));
      },
    };
    const pictures = {
      imageSize,
      settings,
      files: readable,
      captions: captionsByFile && readable.map((file) => captionsByFile.get(file)!),
      places: cache?.pictures.filter((picture) => typeof picture !== 'string'),
      pool,
      noteBroken,
      broken: reasons,
    };
    return new ImageDataset(summary, pictures, () => pool.close());
  } catch (error) {
    await pool.close();
    throw error;
  }
}

function checkInteger(name: string, value: number, least: number, most: number): void {
  if (!Number.isInteger(value) || value < least || value > most) {
    throw invalidArgument(name, `an integer in [${least}, ${most}]`, value);
  }
}

function checkPresent(captions: ReadonlyMap<string, unknown>, present: readonly string[], path: string): void {
  const known = new Set(present);
  const missing = [...captions.keys()].filter((file) => !known.has(file));
  if (missing.length === 0) return;
  const more = missing.length > 3 ? ` and ${missing.length - 3} more` : '';
  throw new ClipGenError(
    'not_found',
    `captions file ${path} names missing pictures: ${missing.slice(0, 3).join(', ')}${more}`,
  );
}
