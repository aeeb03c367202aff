import { readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import { ClipTokenizer } from './clip-tokenizer.ts';
import { Vocabulary } from './vocabulary.ts';

/** Pairs of token ids, uint16 little-endian, in the order of rank. */
const MERGES = new URL('../merges/clip.u16.gz', import.meta.url);

/** OpenAI's tokenizer with its 49,408 tokens. Reads one file and takes some tens of milliseconds: make it once. */
export function createClipTokenizer(): ClipTokenizer {
  const bytes = gunzipSync(readFileSync(MERGES));
  const merges = Uint16Array.from({ length: bytes.length / 2 }, (_, i) => bytes[2 * i]! | (bytes[2 * i + 1]! << 8));
  return new ClipTokenizer(new Vocabulary(merges, 'the merges of CLIP'));
}
