import { createHash } from 'node:crypto';
import { invalidArgument } from '@clip-gen/errors';

/**
 * Whether a file belongs to the validation part: by the hash of its key alone, so that a file stays on its side when
 * others come and go. Give related files (one subject in several styles) the same key to keep them together.
 *
 * @param key the file's relative path, or what it shares with related files
 * @param fraction share of keys in the validation part, in [0, 1)
 * @throws invalid_argument
 */
export function isValidationFile(key: string, fraction: number): boolean {
  if (!(fraction >= 0 && fraction < 1)) throw invalidArgument('validation fraction', 'in [0, 1)', fraction);
  return createHash('sha256').update(key).digest().readUInt32BE(0) < fraction * 0x1_0000_0000;
}
