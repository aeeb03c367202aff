import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { join } from 'node:path';
import { WEIGHTS_FILE, type ModelPart } from './model-part.ts';

/**
 * SHA-256 of a part's `model.safetensors`, lower-case hex: what replicas of one model have in common. Reads the file in
 * pieces, about a second a gigabyte.
 */
export async function hashWeights(part: ModelPart<unknown>): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(join(part.folder, WEIGHTS_FILE))) hash.update(chunk as Buffer);
  return hash.digest('hex');
}
