import { ClipGenError } from '@clip-gen/errors';
import { BYTE_ORDER } from './byte-order.ts';

/** Tokens that stand for one byte: 256 inside a word, then 256 at its end. */
export const BYTE_TOKENS = 512;

/** Most merges a vocabulary may have. */
export const MAX_MERGES = 1 << 17;

/** Most bytes of a token. */
const MAX_TOKEN_BYTES = 1024;

/**
 * Byte-pair tokens. Ids: 0–255 bytes inside a word, 256–511 bytes that end a word, then one id for each merge in the
 * order of rank, then start of text, then end of text, which is the largest id.
 */
export class Vocabulary {
  readonly #rankOfPair = new Map<number, number>();
  /** 1 where a word ends with the token. */
  readonly #endsWord: Uint8Array;

  /**
   * @param merges ids of the left and the right token of each merge in the order of rank, (2 · merges); kept, not copied
   * @param source what errors call them
   * @throws data_corrupt for a merge of tokens that are not there before it, made twice, or past the end of a word
   */
  constructor(
    readonly merges: ArrayLike<number>,
    source: string,
  ) {
    const count = merges.length / 2;
    if (!Number.isInteger(count) || count > MAX_MERGES) {
      throw new ClipGenError('data_corrupt', `${source} must have at most ${MAX_MERGES} pairs of ids; got ${count}`);
    }
    this.#endsWord = new Uint8Array(BYTE_TOKENS + count).fill(1, 256, BYTE_TOKENS);
    const bytes = new Uint32Array(BYTE_TOKENS + count).fill(1, 0, BYTE_TOKENS);
    for (let rank = 0; rank < count; rank++) {
      const left = merges[2 * rank]!;
      const right = merges[2 * rank + 1]!;
      const id = BYTE_TOKENS + rank;
      const key = pairKey(left, right);
      const wrong =
        !isIdBelow(id, left) || !isIdBelow(id, right)
          ? 'be of two tokens before it'
          : this.#endsWord[left] === 1
            ? 'not go on after the end of a word'
            : this.#rankOfPair.has(key)
              ? 'not be made twice'
              : bytes[left]! + bytes[right]! > MAX_TOKEN_BYTES
                ? `make at most ${MAX_TOKEN_BYTES} bytes`
                : undefined;
      if (wrong !== undefined) {
        throw new ClipGenError('data_corrupt', `${source}: merge ${rank} must ${wrong}; got [${left}, ${right}]`);
      }
      this.#rankOfPair.set(key, rank);
      this.#endsWord[id] = this.#endsWord[right]!;
      bytes[id] = bytes[left]! + bytes[right]!;
    }
  }

  /** Number of tokens, the two special ones included. */
  get size(): number {
    return BYTE_TOKENS + this.merges.length / 2 + 2;
  }

  /** Token that opens every text, the last but one. */
  get startOfText(): number {
    return this.size - 2;
  }

  /** Token that closes every text, the last. */
  get endOfText(): number {
    return this.size - 1;
  }

  /** Rank of the merge of two tokens; undefined when there is none. Its result is token `BYTE_TOKENS + rank`. */
  rank(left: number, right: number): number | undefined {
    return this.#rankOfPair.get(pairKey(left, right));
  }

  /** The two tokens that a merged token is made of; undefined for bytes and special tokens. */
  parts(id: number): readonly [number, number] | undefined {
    const at = 2 * (id - BYTE_TOKENS);
    const left = this.merges[at];
    const right = this.merges[at + 1];
    return at < 0 || left === undefined || right === undefined ? undefined : [left, right];
  }

  /** Bytes of a token, and whether a word ends after them; undefined for special tokens and ids out of range. */
  piece(id: number): { readonly bytes: readonly number[]; readonly endsWord: boolean } | undefined {
    if (!isIdBelow(this.startOfText, id)) return undefined;
    const bytes: number[] = [];
    const waiting = [id];
    for (let part = waiting.pop(); part !== undefined; part = waiting.pop()) {
      const parts = this.parts(part);
      if (parts === undefined) bytes.push(BYTE_ORDER[part % 256]!);
      else waiting.push(parts[1], parts[0]);
    }
    return { bytes, endsWord: this.#endsWord[id] === 1 };
  }
}

function isIdBelow(end: number, id: number): boolean {
  return Number.isInteger(id) && id >= 0 && id < end;
}

/** Both ids are below 2^18, so the key is exact. */
function pairKey(left: number, right: number): number {
  return left * 0x4_0000 + right;
}
