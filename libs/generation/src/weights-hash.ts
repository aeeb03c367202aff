import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { WEIGHTS_FILE, type ModelPart } from './model-part.ts';
import { SUPPORT_FILE } from './support-memory.ts';

/**
 * SHA-256 of a part's `model.safetensors` and, where there is one, `support.safetensors` after it, lower-case hex: what
 * replicas of one model have in common. Reads the files in pieces, about a second a gigabyte.
 */
export async function hashWeights(part: ModelPart<unknown>): Promise<string> {
  const hash = createHash('sha256');
  const files = [join(part.folder, WEIGHTS_FILE)];
  const support = join(part.folder, SUPPORT_FILE);
  if (await stat(support).catch(() => undefined)) files.push(support);
  for (const file of files) for await (const chunk of createReadStream(file)) hash.update(chunk as Buffer);
  return hash.digest('hex');
}
