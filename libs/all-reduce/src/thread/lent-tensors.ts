/** Whole pages of a memory: its bytes in [start, end). */
interface Pages {
  readonly buffer: ArrayBufferLike;
  readonly start: number;
  readonly end: number;
}

/** Of all memories of this thread, to whichever group: a page can lie in one group's memory only. */
const lentPages = new Set<Pages>();

/** The tensors that a group has been lent, as the thread that computes knows them. Keeps their memory from the collector. */
export class LentTensors {
  readonly #tensors: { readonly tensor: Float32Array; readonly place: number }[] = [];
  readonly #pages: Pages[] = [];

  constructor(readonly pageBytes: number) {}

  /**
   * @param lend has the pages shared: where the tensor lies in the group's memory then, undefined when it cannot
   * @returns false as well when one of the pages is lent already; true when the whole tensor is, to this group
   */
  async add(tensor: Float32Array, lend: () => Promise<number | undefined>): Promise<boolean> {
    if (this.placeOf(tensor) !== undefined) return true;
    const { buffer, byteOffset, byteLength } = tensor;
    const page = (bytes: number): number => bytes - (bytes % this.pageBytes);
    const pages = { buffer, start: page(byteOffset), end: page(byteOffset + byteLength + this.pageBytes - 1) };
    for (const other of lentPages) {
      if (other.buffer === buffer && other.start < pages.end && pages.start < other.end) return false;
    }
    lentPages.add(pages);
    const place = await lend().catch((error: unknown) => {
      lentPages.delete(pages);
      throw error;
    });
    if (place === undefined) {
      lentPages.delete(pages);
      return false;
    }
    this.#pages.push(pages);
    this.#tensors.push({ tensor, place });
    return true;
  }

  /** Where a lent tensor or a view of it lies in the group's memory. */
  placeOf({ buffer, byteOffset, byteLength }: Float32Array): number | undefined {
    for (const { tensor, place } of this.#tensors) {
      const at = byteOffset - tensor.byteOffset;
      if (buffer === tensor.buffer && at >= 0 && at + byteLength <= tensor.byteLength) return place + at;
    }
    return undefined;
  }

  /** Places of what has lost its memory since, which has grown: it may have moved. */
  get gone(): number[] {
    return this.#tensors.filter(({ tensor }) => tensor.byteLength === 0).map(({ place }) => place);
  }

  /** The group is over. */
  clear(): void {
    for (const pages of this.#pages.splice(0)) lentPages.delete(pages);
    this.#tensors.length = 0;
  }
}
