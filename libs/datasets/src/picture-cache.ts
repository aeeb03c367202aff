import type { CachedPicture, DecodeSettings } from './worker-messages.ts';
import type { WorkerPool } from './worker-pool.ts';

/** Files a decode job holds: enough to hide the round trip, few enough to share out evenly. */
const FILES_A_JOB = 64;

/** Decoded pictures in shared memory, which the pool's threads have been given. */
export interface PictureCache {
  /** Per file its place, or why it cannot be read. */
  readonly pictures: readonly (CachedPicture | string)[];
  readonly bytes: number;
}

/**
 * Decodes every file once on the pool's threads and keeps the pixels in shared memory.
 *
 * @returns undefined, with nothing kept, when the pictures need more than `maxBytes`
 */
export async function fillPictureCache(
  pool: WorkerPool,
  settings: DecodeSettings,
  files: readonly string[],
  maxBytes: number,
): Promise<PictureCache | undefined> {
  // Square pictures are the smallest there can be: too large like that is too large for certain.
  if (files.length * settings.shortSide ** 2 * 3 > maxBytes) return undefined;
  const jobs = Math.ceil(files.length / FILES_A_JOB);
  const chunks: SharedArrayBuffer[] = new Array<SharedArrayBuffer>(jobs);
  const pictures: (CachedPicture | string)[] = new Array<CachedPicture | string>(files.length);
  let bytes = 0;
  let next = 0;
  const lane = async (): Promise<void> => {
    while (next < jobs && bytes <= maxBytes) {
      const chunk = next++;
      const first = chunk * FILES_A_JOB;
      const result = await pool.run({ kind: 'decode', settings, files: files.slice(first, first + FILES_A_JOB) });
      bytes += result.pixels.byteLength;
      chunks[chunk] = result.pixels;
      result.pictures.forEach((picture, i) => {
        pictures[first + i] = typeof picture === 'string' ? picture : { ...picture, chunk };
      });
    }
  };
  await Promise.all(Array.from({ length: pool.size }, lane));
  if (bytes > maxBytes) return undefined;
  pool.share({ kind: 'cache', chunks });
  return { pictures, bytes };
}
