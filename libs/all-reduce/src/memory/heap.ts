import { ClipGenError } from '@clip-gen/errors';

const ALIGNMENT = 64;

/** Gives out stretches of a range one after the other; nothing comes back. */
export class Heap {
  #next: number;

  /** @param end address after the last byte */
  constructor(
    start: number,
    readonly end: number,
  ) {
    this.#next = start;
  }

  /**
   * @param alignment a power of 2
   * @throws resource_exhausted when it does not fit
   */
  allocate(byteLength: number, alignment = ALIGNMENT): number {
    const address = Math.ceil(this.#next / alignment) * alignment;
    if (address + byteLength > this.end) {
      const left = this.end - address;
      throw new ClipGenError(
        'resource_exhausted',
        `allocate needs ${byteLength} bytes and ${left} are left; join with a larger sharedBytes`,
      );
    }
    this.#next = address + Math.ceil(byteLength / ALIGNMENT) * ALIGNMENT;
    return address;
  }
}
