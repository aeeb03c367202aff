import { ClipGenError } from '@clip-gen/errors';
import { ClipTokenizer } from './clip-tokenizer.ts';
import { MAX_MERGES, Vocabulary } from './vocabulary.ts';

const FORMAT = 'clip-gen-tokenizer';
const VERSION = 1;
const MAX_JSON_LENGTH = 64 * 1024 * 1024;

/** A tokenizer as the text of a file in a model's folder: its merges as pairs of ids
 * (left, right, left, right, …), from which everything follows. */
export function tokenizerToJson(tokenizer: ClipTokenizer): string {
  const { merges, size } = tokenizer.vocabulary;
  return `${JSON.stringify({ format: FORMAT, version: VERSION, vocabularySize: size, merges: Array.from(merges) })}\n`;
}

/**
 * Reads what `tokenizerToJson` wrote.
 *
 * @param text the file's content; not trusted
 * @param source what errors call it
 * @throws data_corrupt for anything else
 */
export function tokenizerFromJson(text: string, source = 'tokenizer'): ClipTokenizer {
  const corrupt = (what: string): ClipGenError => new ClipGenError('data_corrupt', `${source} ${what}`);
  if (text.length > MAX_JSON_LENGTH)
    throw corrupt(`must have at most ${MAX_JSON_LENGTH} characters; got ${text.length}`);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new ClipGenError('data_corrupt', `${source} must be JSON`, { cause });
  }
  if (typeof value !== 'object' || value === null || !('format' in value) || value.format !== FORMAT) {
    throw corrupt(`must have "format": "${FORMAT}"`);
  }
  if (!('version' in value) || value.version !== VERSION) throw corrupt(`must have "version": ${VERSION}`);
  const merges: unknown = 'merges' in value ? value.merges : undefined;
  if (!Array.isArray(merges) || merges.length > 2 * MAX_MERGES || !merges.every((id) => typeof id === 'number')) {
    throw corrupt(`must have "merges", a list of at most ${2 * MAX_MERGES} token ids`);
  }
  const vocabulary = new Vocabulary(merges, source);
  const size: unknown = 'vocabularySize' in value ? value.vocabularySize : undefined;
  if (size !== vocabulary.size) throw corrupt(`must have "vocabularySize": ${vocabulary.size}; got ${String(size)}`);
  return new ClipTokenizer(vocabulary);
}
