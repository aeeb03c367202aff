/**
 * Finds the k largest of a row by radix selection: a histogram over the upper bits of the floats, then over the next
 * bits of the one bin in which the k-th falls, and so on. Linear in the row, no sort, buffers reused.
 */
export class TopKSelector {
  readonly #histogram = new Uint32Array(1 << 11);
  /** Indices that may still hold the k-th. */
  readonly #undecided: Uint32Array;
  /** How many of the last bin found are among the k largest. */
  #wanted = 0;

  constructor(size: number) {
    this.#undecided = new Uint32Array(size);
  }

  /**
   * Writes the indices of the k largest, in ascending index order; among equal values the lowest indices win.
   *
   * @param keys {@link sortableKey} of the row, first `size` of them
   * @param size length of the row
   * @param k in [1, size]
   * @param out receives k indices
   */
  select(keys: Int32Array, size: number, k: number, out: Uint32Array): void {
    if (k >= size) {
      for (let i = 0; i < size; i++) out[i] = i;
      return;
    }
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
