import { instantiateKernels, TABLE_BYTES, type Kernels } from './kernels.ts';

/** Words that a kernel takes at a time. */
const LANES = 4;
/** Of the histogram in which the k-th largest is looked for. */
const BINS = 512;
/** Keys that the bin of the k-th may hold for it to be found there. */
export const MAX_MEMBERS = 64;
const PAGE_BYTES = 1 << 16;

/** What the kernels work on for one row of logits at a time. Allocated once. */
export class RowMemory {
  /** The row; what is behind it, up to a multiple of 4, is its first logit again. */
  readonly #row: Float32Array;
  /** `sortableKey` of the logits on the list, of −0 as of +0. */
  readonly keys: Int32Array;
  /** Where each stands in the row. */
  readonly indices: Uint32Array;
  /** Places on the list that are chosen. */
  readonly chosen: Uint32Array;
  /** Places on the list in the bin of the k-th largest. */
  readonly members: Uint32Array;
  readonly #histogram: Uint32Array;
  readonly #kernels: Kernels;

  /** @param size of every row */
  constructor(readonly size: number) {
    const padded = Math.ceil(size / LANES) * LANES;
    const bytes = TABLE_BYTES + 4 * (4 * padded + MAX_MEMBERS + BINS);
    const memory = new WebAssembly.Memory({ initial: Math.ceil(bytes / PAGE_BYTES) });
    let at = TABLE_BYTES;
    const next = (words: number): readonly [ArrayBuffer, number, number] => {
      at += 4 * words;
      return [memory.buffer, at - 4 * words, words];
    };
    this.#row = new Float32Array(...next(padded));
    this.keys = new Int32Array(...next(padded));
    this.indices = new Uint32Array(...next(padded));
    this.chosen = new Uint32Array(...next(padded));
    this.members = new Uint32Array(...next(MAX_MEMBERS));
    this.#histogram = new Uint32Array(...next(BINS));
    this.#kernels = instantiateKernels(memory);
  }

  /** The row that is worked on: `size` logits; set it by {@link load}. */
  get row(): Float32Array {
    return this.#row;
  }

  /** Copies a row of `size` logits. */
  load(row: Float32Array): void {
    this.#row.set(row);
    this.#row.fill(row[0]!, this.size);
  }

  /** Lists what reaches `least`, in the row's order: how many; −1 when a logit is NaN or infinite. */
  collect(least: number): number {
    const { keys, indices } = this;
    const row = this.#row;
    let count = this.#kernels.collect(row.byteOffset, row.length, least, keys.byteOffset, indices.byteOffset);
    while (count > 0 && indices[count - 1]! >= this.size) count--; // what is behind the row
    return count;
  }

  /** The largest logit on the list. */
  get largest(): number {
    return floatOf(this.#kernels.most.value);
  }

  /** The place of the largest on the list, the first of equal ones. */
  get placeOfLargest(): number {
    return this.keys.indexOf(this.#kernels.most.value);
  }

  /**
   * Looks for the k-th largest of a list of `count` in a histogram: how many are in its bin, whose places are then
   * {@link members}, or more than 64 when they are too many for that.
   */
  boundary(count: number, k: number): number {
    const { keys, chosen, members } = this;
    const low = floatOf(this.#kernels.fewest.value);
    return this.#kernels.boundary(
      keys.byteOffset,
      count,
      k,
      low,
      (BINS - 1) / (this.largest - low),
      chosen.byteOffset,
      this.#histogram.byteOffset,
      BINS,
      members.byteOffset,
      MAX_MEMBERS,
    );
  }

  /** Those of {@link boundary}'s bin that are among the k largest. */
  get wanted(): number {
    return this.#kernels.wanted.value;
  }

  /** Chooses the places of keys above `key`, and of those equal to it that are at `last` or before; in order. */
  choose(count: number, key: number, last: number): void {
    this.#kernels.choose(this.keys.byteOffset, count, key, last, this.chosen.byteOffset);
  }
}

const bits = new Int32Array(1);
const float = new Float32Array(bits.buffer);

/** The float32 of a sortable key. */
function floatOf(key: number): number {
  bits[0] = key ^ ((key >> 31) & 0x7fffffff);
  return float[0]!;
}
