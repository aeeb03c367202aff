import { join } from 'node:path';
import { ClipGenError } from '@clip-gen/errors';
import { z } from 'zod';
import { parseConfig, readText } from './model-part.ts';
import { validateRequest } from './request.ts';

/** Optional, beside the folders of the three networks. */
const DEFAULTS_FILE = 'generation.json';
const MAX_DEFAULTS_BYTES = 1 << 16;

/** `generation.json`; the bounds are those of a request. */
const generationDefaultsSchema = z
  .strictObject({
    /** Grids to draw and judge. */
    candidates: z.number(),
    temperature: z.number(),
    /** 0 = all. */
    topK: z.number(),
    topP: z.number(),
    guidance: z.number(),
  })
  .partial();

/** How a model draws unless a request says otherwise; what is left out is as `REQUEST_DEFAULTS` has it. */
export type GenerationDefaults = Readonly<z.infer<typeof generationDefaultsSchema>>;

/**
 * Reads `generation.json` of a model folder.
 *
 * @returns nothing set when there is no such file
 * @throws what {@link readDefaultsFile} throws
 */
export async function readGenerationDefaults(folder: string, vocabularySize: number): Promise<GenerationDefaults> {
  try {
    return await readDefaultsFile(join(folder, DEFAULTS_FILE), vocabularySize);
  } catch (error) {
    if (error instanceof ClipGenError && error.code === 'not_found') return {};
    throw error;
  }
}

/**
 * Reads a file of the form of `generation.json`.
 *
 * @param vocabularySize codes K of the model, which topK may not exceed
 * @throws not_found; data_corrupt for an unknown key or a value out of bounds, naming the file; what `readText` throws
 * else
 */
export async function readDefaultsFile(path: string, vocabularySize: number): Promise<GenerationDefaults> {
  const text = await readText(path, MAX_DEFAULTS_BYTES);
  const defaults = parseConfig(path, text, generationDefaultsSchema, 'set of defaults for generation');
  try {
    validateRequest({ prompt: 'any', pictures: 1 }, vocabularySize, defaults);
  } catch (cause) {
    if (!(cause instanceof ClipGenError)) throw cause;
    throw new ClipGenError('data_corrupt', `${path}: ${cause.message}`, { cause });
  }
  return defaults;
}
