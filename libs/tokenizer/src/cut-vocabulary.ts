import { invalidArgument } from '@clip-gen/errors';
import { ClipTokenizer } from './clip-tokenizer.ts';
import { BYTE_TOKENS, Vocabulary } from './vocabulary.ts';

/** A smaller tokenizer, and where its tokens came from. */
export interface CutVocabulary {
  readonly tokenizer: ClipTokenizer;
  /** For each new token id the id it had before: rows to take from an embedding table. */
  readonly oldIds: Int32Array;
}

/**
 * A smaller vocabulary for a small model: the tokens that `texts` use most, with the tokens they are merged from, so
 * that each can be reached. All bytes stay, hence every text can still be encoded, in more tokens. A word whose tokens
 * are all kept is encoded as before. Special tokens stay the two largest ids, the end of text last.
 *
 * @param tokenizer the larger one; not changed
 * @param texts the corpus
 * @param maxSize most tokens of the result, special ones included; at least 514
 */
export function cutVocabulary(tokenizer: ClipTokenizer, texts: Iterable<string>, maxSize: number): CutVocabulary {
  const { vocabulary } = tokenizer;
  const least = BYTE_TOKENS + 2;
  if (!Number.isInteger(maxSize) || maxSize < least)
    throw invalidArgument('maxSize', `an integer >= ${least}`, maxSize);
  const uses = new Map<number, number>();
  for (const text of texts) {
    for (const id of tokenizer.encode(text)) uses.set(id, (uses.get(id) ?? 0) + 1);
  }
  const wanted = [...uses].filter(([id]) => id >= BYTE_TOKENS && id < vocabulary.startOfText);
  wanted.sort(([idA, usesA], [idB, usesB]) => usesB - usesA || idA - idB);
  const kept = new Set<number>();
  for (const [id] of wanted) {
    const needed = missingParts(vocabulary, id, kept);
    // One that does not fit may need many parts; a rarer one may still fit.
    if (least + kept.size + needed.size <= maxSize) for (const part of needed) kept.add(part);
  }
  const merged = [...kept].sort((a, b) => a - b);
  const newIds = new Map(merged.map((id, rank) => [id, BYTE_TOKENS + rank]));
  const merges = merged.flatMap((id) => vocabulary.parts(id)!.map((part) => newIds.get(part) ?? part));
  const bytes = Array.from({ length: BYTE_TOKENS }, (_, id) => id);
  return {
    tokenizer: new ClipTokenizer(new Vocabulary(merges, 'the cut vocabulary')),
    oldIds: Int32Array.from([...bytes, ...merged, vocabulary.startOfText, vocabulary.endOfText]),
  };
}

/** A merged token and all merged tokens it is made of, except those already kept. */
function missingParts(vocabulary: Vocabulary, id: number, kept: ReadonlySet<number>): Set<number> {
  const missing = new Set<number>();
  const waiting = [id];
  for (let part = waiting.pop(); part !== undefined; part = waiting.pop()) {
    if (part < BYTE_TOKENS || kept.has(part) || missing.has(part)) continue;
    missing.add(part);
    waiting.push(...(vocabulary.parts(part) ?? []));
  }
  return missing;
}
