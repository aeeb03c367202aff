import type { RowMemory } from './row-memory.ts';
import { nonFiniteLogit } from './sampling-options.ts';

/** Logits that are looked at to guess where the k-th largest lies. */
const SAMPLED = 256;
/** How many times k a row must hold for a guess to pay. */
const LEAST_RATIO = 8;

/**
 * The logits that may be among the k largest, found in one pass: all that reach a guess, taken from a sample of the row,
 * which is about the 2k-th largest. What is chosen does not depend on the guess; where fewer than k reach it, or where k
 * is a large part of the row, the whole row is the shortlist.
 */
export class Shortlist {
  /** The largest of the sample, falling. */
  readonly #sample = new Float32Array(SAMPLED);

  /** @param memory receives the row and the list */
  constructor(private readonly memory: RowMemory) {}

  /**
   * @param row of `size` logits
   * @param k in [1, size]
   * @returns how many are on the list, at least k
   * @throws invalid_argument for a logit that is NaN or infinite
   */
  fill(row: Float32Array, k: number): number {
    const { memory } = this;
    memory.load(row);
    const count = memory.collect(row.length >= LEAST_RATIO * Math.max(k, SAMPLED) ? this.#guess(k) : -Infinity);
    if (count < 0) {
      const index = row.findIndex((value) => !Number.isFinite(value));
      throw nonFiniteLogit(index, row[index]!);
    }
    return count >= k ? count : memory.collect(-Infinity);
  }

  /** What at least k logits reach, but for one row in some thousands. */
  #guess(k: number): number {
    const sample = this.#sample;
    const { row, size } = this.memory;
    const stride = Math.floor(size / SAMPLED);
    const expected = (k * SAMPLED) / size;
    const rank = Math.ceil(expected + 4 * Math.sqrt(expected));
    sample.fill(-Infinity, 0, rank + 1);
    for (let i = 0; i < SAMPLED; i++) {
      const value = row[i * stride]!;
      if (!(value > sample[rank]!)) continue;
      let at = rank;
      while (at > 0 && sample[at - 1]! < value) sample[at] = sample[--at]!;
      sample[at] = value;
    }
    return sample[rank]!;
  }
}
