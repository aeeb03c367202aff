import { MAX_MEMBERS, type RowMemory } from './row-memory.ts';

/**
 * Finds the k largest of a list: a histogram of equal bins between its ends, then a sort of the few in the bin where the
 * k-th falls. Where these are many, as in a row of few values or with one logit far from all, by radix selection: a
 * histogram over the upper bits of the floats, then over the next bits of the one bin in which the k-th falls, and so on.
 * Linear in the list, buffers reused.
 */
export class TopKSelector {
  readonly #histogram = new Uint32Array(1 << 11);
  /** Indices that may still hold the k-th. */
  readonly #undecided: Uint32Array;
  /** How many of the last bin found are among the k largest. */
  #wanted = 0;

  /** @param memory holds the list's keys, and receives what is chosen */
  constructor(private readonly memory: RowMemory) {
    this.#undecided = new Uint32Array(memory.size);
  }

  /**
   * Chooses the places of the k largest, in ascending order; among equal values the lowest places win.
   *
   * @param size length of the list
   * @param k in [1, size]
   */
  select(size: number, k: number): void {
    const { memory } = this;
    const { keys, chosen, members } = memory;
    if (k >= size) {
      for (let i = 0; i < size; i++) chosen[i] = i;
      return;
    }
    const count = memory.boundary(size, k);
    if (count > MAX_MEMBERS) return this.selectByRadix(size, k);
    const ranked = Array.from(members.subarray(0, count)).sort((a, b) => keys[b]! - keys[a]! || a - b);
    const last = ranked[memory.wanted - 1]!;
    memory.choose(size, keys[last]!, last);
  }

  /** {@link select} for k < size, whatever the values are. */
  selectByRadix(size: number, k: number): void {
    const { keys, chosen: out } = this.memory;
    const histogram = this.#histogram.fill(0);
    for (let i = 0; i < size; i++) histogram[(keys[i]! >> 21) + 1024]!++;
    let bin = this.#binOf(k);
    let threshold = (bin - 1024) << 21;
    const undecided = this.#undecided;
    let count = 0;
    for (let i = 0; i < size; i++) if (keys[i]! >> 21 === bin - 1024) undecided[count++] = i;

    for (const [shift, mask] of LOWER_DIGITS) {
      if (count === this.#wanted) break; // the whole bin is in: its lower edge is the threshold
      histogram.fill(0);
      for (let j = 0; j < count; j++) histogram[(keys[undecided[j]!]! >> shift) & mask]!++;
      bin = this.#binOf(this.#wanted);
      threshold |= bin << shift;
      let kept = 0;
      for (let j = 0; j < count; j++) {
        const index = undecided[j]!;
        if (((keys[index]! >> shift) & mask) === bin) undecided[kept++] = index;
      }
      count = kept;
    }

    // All above the threshold; of those at it, which ascend by index, the first `wanted`.
    const allIn = count === this.#wanted;
    const last = undecided[this.#wanted - 1]!;
    let written = 0;
    for (let i = 0; i < size; i++) {
      const key = keys[i]!;
      if (key > threshold || (key === threshold && (allIn || i <= last))) out[written++] = i;
    }
  }

  /** The bin that holds the n-th largest. All in higher bins are among the n, and `#wanted` of this one. */
  #binOf(n: number): number {
    const histogram = this.#histogram;
    let bin = histogram.length - 1;
    while (histogram[bin]! < n) n -= histogram[bin--]!;
    this.#wanted = n;
    return bin;
  }
}

/** Shift and mask of the second and third 11 and 10 bits. */
const LOWER_DIGITS = [
  [10, 0x7ff],
  [0, 0x3ff],
] as const;

/** An int32 that orders as the float32 of these bits does. */
export function sortableKey(bits: number): number {
  return bits ^ ((bits >> 31) & 0x7fffffff);
}
