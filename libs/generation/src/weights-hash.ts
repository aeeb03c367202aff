import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { CACHE_FILE } from './cache-steps.ts';
import { WEIGHTS_FILE, type ModelPart } from './model-part.ts';
import { SUPPORT_FILE } from './support-memory.ts';

/**
 * SHA-256 of a part's `model.safetensors` and, where they are there, `support.safetensors` and `cache.safetensors` after it,
 * lower-case hex: what replicas of one model have in common. Reads the files in pieces, about a second a gigabyte.
 */
export async function hashWeights(part: ModelPart<unknown>): Promise<string> {
  const hash = createHash('sha256');
  const files = [join(part.folder, WEIGHTS_FILE)];
  for (const path of [SUPPORT_FILE, CACHE_FILE].map((file) => join(part.folder, file))) {
    if (await stat(path).catch(() => undefined)) files.push(path);
  }
  for (const file of files) for await (const chunk of createReadStream(file)) hash.update(chunk as Buffer);
  return hash.digest('hex');
}
