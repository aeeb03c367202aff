import { join } from 'node:path';
import { readCaptions, scanImageFolder, CAPTIONS_FILE } from '@clip-gen/datasets';
import { ClipGenError } from '@clip-gen/errors';
import { centreCrop, decodeImage, type RgbImage } from '@clip-gen/image';
import { RandomStream } from '@clip-gen/rng';
import { readFile, stat } from 'node:fs/promises';
import { z } from 'zod';

/** Which half of the data set: pictures that the model was trained on, or names that it never saw. */
export type Split = 'train' | 'heldout';

/** A picture with what is said of it. */
export interface CaptionedPicture {
  readonly path: string;
  /** The plainest of its captions. */
  readonly caption: string;
}

const MAX_NAMES_BYTES = 64 << 20;
const namesSchema = z.array(z.object({ name: z.string(), prompt: z.string().min(1), common: z.boolean() }));

/** The first `count` of the items in an order that the seed decides; all of them when there are fewer. */
export function draw<T>(items: readonly T[], count: number, seed: number): T[] {
  return new RandomStream(seed).shuffle([...items]).slice(0, count);
}

/**
 * Prompts for common emoji of the training half, from `names.json`; no prompt twice.
 *
 * @throws not_found or data_corrupt for `names.json`
 */
export async function readCommonPrompts(folder: string): Promise<string[]> {
  const path = join(folder, 'names.json');
  const size = (await stat(path).catch(() => undefined))?.size;
  if (size === undefined) throw new ClipGenError('not_found', `${path} does not exist; make the emoji data set first`);
  if (size > MAX_NAMES_BYTES) {
    throw new ClipGenError('resource_exhausted', `${path} must have at most ${MAX_NAMES_BYTES} bytes; got ${size}`);
  }
  let names: z.output<typeof namesSchema>;
  try {
    names = namesSchema.parse(JSON.parse(await readFile(path, 'utf8')));
  } catch (cause) {
    throw new ClipGenError('data_corrupt', `${path} must list names with prompt and common`, { cause });
  }
  const prompts = [...new Set(names.filter(({ common }) => common).map(({ prompt }) => prompt))];
  if (prompts.length === 0) throw new ClipGenError('data_corrupt', `${path} must list at least one common name`);
  return prompts;
}

/** Paths of a split's pictures. @throws not_found when the folder is missing or empty */
export async function listPictures(folder: string, split: Split): Promise<string[]> {
  const root = join(folder, split);
  const files = await scanImageFolder(root).catch((cause: unknown) => {
    if (!(cause instanceof ClipGenError) || cause.code !== 'not_found') throw cause;
    const message = `${cause.message}; --data must be the emoji data set (npm run build --prefix tools/emoji)`;
    throw new ClipGenError('not_found', message, { cause });
  });
  if (files.length === 0) throw new ClipGenError('not_found', `${root} holds no pictures`);
  return files.map((file) => join(root, file));
}

/** Captioned pictures of a split, no caption twice. @throws not_found or data_corrupt for the captions */
export async function listCaptionedPictures(folder: string, split: Split): Promise<CaptionedPicture[]> {
  const root = join(folder, split);
  const byCaption = new Map<string, CaptionedPicture>();
  for (const [file, [caption]] of await readCaptions(join(root, CAPTIONS_FILE))) {
    if (caption !== undefined && !byCaption.has(caption)) byCaption.set(caption, { path: join(root, file), caption });
  }
  return [...byCaption.values()];
}

/** A picture as side × side pixels: shorter side scaled, middle square. */
export async function readSquare(path: string, side: number): Promise<RgbImage> {
  return centreCrop(await decodeImage(path, { resizeShortSide: side }), side);
}
