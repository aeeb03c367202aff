import { ClipGenError } from '@clip-gen/errors';
import { philox4x32 } from './philox.ts';

/**
 * A repeatable sequence of draws, named by a seed and up to two stream numbers, e.g. (seed, epoch, purpose) or
 * (seed, candidate, position). Streams with different names are independent; `position` can be saved and restored.
 */
export class RandomStream {
  #block = new Uint32Array(4);
  #blockIndex = -1;
  readonly #key: readonly [number, number];

  /**
   * @param seed integer in [0, 2^53)
   * @param stream first stream number, uint32
   * @param substream second stream number, uint32
   * @param position number of 32-bit words already drawn
   */
  constructor(
    seed: number,
    readonly stream = 0,
    readonly substream = 0,
    public position = 0,
  ) {
    if (!Number.isSafeInteger(seed) || seed < 0) {
      throw new ClipGenError('invalid_argument', `seed must be an integer in [0, 2^53); got ${seed}`);
    }
    this.#key = [seed >>> 0, Math.floor(seed / 0x1_0000_0000)];
  }

  /** A uniform uint32. */
  uint32(): number {
    const index = Math.floor(this.position / 4);
    if (index !== this.#blockIndex) {
      philox4x32([index >>> 0, Math.floor(index / 0x1_0000_0000), this.stream, this.substream], this.#key, this.#block);
      this.#blockIndex = index;
    }
    return this.#block[this.position++ % 4]!;
  }

  /** Uniform in [0, 1), 32 bits of resolution. */
  uniform(): number {
    return this.uint32() / 0x1_0000_0000;
  }

  /** Standard normal (Box–Muller; two words a draw). */
  normal(): number {
    const radius = Math.sqrt(-2 * Math.log((this.uint32() + 1) / 0x1_0000_0000));
    return radius * Math.cos(2 * Math.PI * this.uniform());
  }

  /** Uniform integer in [0, bound). @throws invalid_argument unless bound is an integer in [1, 2^32] */
  integer(bound: number): number {
    if (!Number.isInteger(bound) || bound < 1 || bound > 0x1_0000_0000) {
      throw new ClipGenError('invalid_argument', `bound must be an integer in [1, 2^32]; got ${bound}`);
    }
    return Math.floor((this.uint32() * bound) / 0x1_0000_0000);
  }

  /** Shuffles in place (Fisher–Yates) and returns its argument. */
  shuffle<T extends { length: number; [index: number]: unknown }>(items: T): T {
    for (let i = items.length - 1; i > 0; i--) {
      const j = this.integer(i + 1);
      const swap = items[i];
      items[i] = items[j];
      items[j] = swap;
    }
    return items;
  }
}
