import { nonFiniteLogit } from './sampling-options.ts';
import { sortableKey } from './top-k.ts';

/** Logits that are looked at to guess where the k-th largest lies. */
const SAMPLED = 512;
/** How many times k a row must hold for a guess to pay. */
const LEAST_RATIO = 8;
/** Of every finite float32 the exponent is below these bits; with one more it would reach the sign. */
const EXPONENT = 0x7f800000;
const EXPONENT_STEP = 0x00800000;
const LOWEST_KEY = -(2 ** 31);

/**
 * The logits that may be among the k largest, found in one pass: all that reach a guess, taken from a sample of the row,
 * which is about the 2k-th largest. What is chosen does not depend on the guess; where fewer than k reach it, or where k
 * is a large part of the row, the whole row is the shortlist.
 */
export class Shortlist {
  /** {@link sortableKey} of the logits on the list, in the row's order, of −0 as of +0. */
  readonly keys: Int32Array;
  /** Where each stands in the row. */
  readonly indices: Uint32Array;
  /** The largest of the sample, falling. */
  readonly #sample = new Float32Array(SAMPLED);
  readonly #sampleBits = new Int32Array(this.#sample.buffer);

  /** @param size of every row */
  constructor(size: number) {
    this.keys = new Int32Array(size);
    this.indices = new Uint32Array(size);
  }

  /**
   * @param row of `size` logits
   * @param k in [1, size]
   * @returns how many are on the list, at least k
   * @throws invalid_argument for a logit that is NaN or infinite
   */
  fill(row: Float32Array, k: number): number {
    const bits = new Int32Array(row.buffer, row.byteOffset, row.length);
    const guess = row.length >= LEAST_RATIO * Math.max(k, SAMPLED) ? this.#guess(row, k) : LOWEST_KEY;
    const count = this.#collect(bits, guess);
    if (count < 0) {
      const index = row.findIndex((value) => !Number.isFinite(value));
      throw nonFiniteLogit(index, row[index]!);
    }
    return count >= k ? count : this.#collect(bits, LOWEST_KEY);
  }

  /** The key of a logit that at least k reach, but for one row in some thousands. */
  #guess(row: Float32Array, k: number): number {
    const sample = this.#sample;
    const stride = Math.floor(row.length / SAMPLED);
    const expected = (k * SAMPLED) / row.length;
    const rank = Math.ceil(expected + 4 * Math.sqrt(expected));
    sample.fill(-Infinity, 0, rank + 1);
    for (let i = 0; i < SAMPLED; i++) {
      const value = row[i * stride]!;
      if (!(value > sample[rank]!)) continue;
      let at = rank;
      while (at > 0 && sample[at - 1]! < value) sample[at] = sample[--at]!;
      sample[at] = value;
    }
    const key = sortableKey(this.#sampleBits[rank]!);
    return key === 0 ? -1 : key; // −0 reaches 0
  }

  /** Lists what reaches `least`; −1 when something is not finite. */
  #collect(bits: Int32Array, least: number): number {
    const { keys, indices } = this;
    let count = 0;
    let overflow = 0;
    for (let i = 0; i < bits.length; i++) {
      const logit = bits[i]!;
      overflow |= (logit & EXPONENT) + EXPONENT_STEP;
      const key = sortableKey(logit);
      if (key >= least) {
        keys[count] = key === -1 ? 0 : key; // −1 is −0
        indices[count++] = i;
      }
    }
    return overflow < 0 ? -1 : count;
  }
}
