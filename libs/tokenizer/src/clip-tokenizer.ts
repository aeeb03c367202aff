import { ClipGenError, invalidArgument } from '@clip-gen/errors';
import { cleanText } from './clean-text.ts';
import { mergeBytes } from './merge-bytes.ts';
import { END_OF_TEXT, START_OF_TEXT, splitWords } from './split-words.ts';
import type { Vocabulary } from './vocabulary.ts';

/** Tokens that CLIP's text encoder reads, the two special ones included. */
export const CLIP_CONTEXT_LENGTH = 77;

/** Longest text that is looked at, in UTF-16 units. */
export const MAX_TEXT_LENGTH = 32_768;

/** Words whose tokens are remembered; only words up to this length, and all are forgotten when there are too many. */
const REMEMBERED_WORDS = 1 << 16;
const REMEMBERED_LENGTH = 64;

/** How a text is brought to the length that the text encoder reads. */
export interface TokenizeOptions {
  /** Length of the result, in [2, 65536]; 77 by default. */
  readonly contextLength?: number;
  /** Cut a text that is too long instead of refusing it; the end-of-text token stays. Off by default. */
  readonly truncate?: boolean;
}

/** Text ↔ token ids, as OpenAI's CLIP does. Made by `createClipTokenizer`, `cutVocabulary` or `tokenizerFromJson`. */
export class ClipTokenizer {
  readonly #words = new Map<string, readonly number[]>();

  constructor(readonly vocabulary: Vocabulary) {}

  /** Number of tokens, the two special ones included; 49408 for CLIP's own. */
  get vocabularySize(): number {
    return this.vocabulary.size;
  }

  /** The start-of-text token; 49406 for CLIP's own. */
  get startOfText(): number {
    return this.vocabulary.startOfText;
  }

  /** The end-of-text token, the largest id; 49407 for CLIP's own. */
  get endOfText(): number {
    return this.vocabulary.endOfText;
  }

  /**
   * Tokens of a text, without the special ones around it (a text that spells `<|startoftext|>` or `<|endoftext|>` gets
   * those, as in the reference).
   *
   * @throws invalid_argument for a text of more than 32,768 characters
   */
  encode(text: string): number[] {
    if (text.length > MAX_TEXT_LENGTH) {
      throw invalidArgument('text', `at most ${MAX_TEXT_LENGTH} characters long`, text.length);
    }
    const ids: number[] = [];
    for (const word of splitWords(cleanText(text))) for (const id of this.#wordTokens(word)) ids.push(id);
    return ids;
  }

  /**
   * What the text encoder reads: start of text, the tokens, end of text, zeros.
   *
   * @returns int32 (contextLength), owned by the caller
   * @throws invalid_argument for a text that does not fit, unless `truncate`
   */
  tokenize(text: string, options: TokenizeOptions = {}): Int32Array {
    const { contextLength = CLIP_CONTEXT_LENGTH, truncate = false } = options;
    if (!Number.isInteger(contextLength) || contextLength < 2 || contextLength > 65536) {
      throw invalidArgument('contextLength', 'an integer in [2, 65536]', contextLength);
    }
    const ids = this.encode(text);
    const room = contextLength - 2;
    if (ids.length > room && !truncate) {
      throw new ClipGenError(
        'invalid_argument',
        `text must have at most ${room} tokens; got ${ids.length}: shorten it, or allow truncation`,
      );
    }
    const kept = ids.slice(0, room);
    const tokens = new Int32Array(contextLength);
    tokens[0] = this.startOfText;
    tokens.set(kept, 1);
    tokens[kept.length + 1] = this.endOfText;
    return tokens;
  }

  /**
   * The text of tokens, lower-case, words parted by a space. Special tokens are left out and nothing after the end of
   * text is read, so the zeros of `tokenize` do no harm; bytes that are not UTF-8 become U+FFFD.
   *
   * @throws invalid_argument for an id out of range
   */
  decode(ids: Iterable<number>): string {
    const bytes: number[] = [];
    for (const id of ids) {
      if (id === this.endOfText) break;
      if (id === this.startOfText) continue;
      const piece = this.vocabulary.piece(id);
      if (piece === undefined) throw invalidArgument('token id', `an integer in [0, ${this.endOfText}]`, id);
      bytes.push(...piece.bytes);
      if (piece.endsWord) bytes.push(0x20);
    }
    return new TextDecoder().decode(Uint8Array.from(bytes)).trimEnd();
  }

  #wordTokens(word: string): readonly number[] {
    const known = this.#words.get(word);
    if (known !== undefined) return known;
    if (word === START_OF_TEXT) return [this.startOfText];
    if (word === END_OF_TEXT) return [this.endOfText];
    const tokens = mergeBytes(UTF8.encode(word), this.vocabulary);
    if (word.length <= REMEMBERED_LENGTH) {
      if (this.#words.size >= REMEMBERED_WORDS) this.#words.clear();
      this.#words.set(word, tokens);
    }
    return tokens;
  }
}

const UTF8 = new TextEncoder();
