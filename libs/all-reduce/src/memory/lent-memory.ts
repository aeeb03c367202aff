import { ClipGenError } from '@clip-gen/errors';
import type { NativeCalls } from '../native/native-calls.ts';
import type { Heap } from './heap.ts';
import type { MemoryFile } from './memory-file.ts';
import type { WorkMemory } from './work-memory.ts';

/** Whole pages of the process. */
interface Loan {
  readonly page: number;
  readonly bytes: number;
}

/**
 * Memory of the caller that the ranks of the host see: pages of the own region's file are mapped over it, too. What lies on
 * the first and the last page besides is in the file then, where nobody touches it.
 */
export class LentMemory {
  /** By what `lend` returned. */
  readonly #loans = new Map<number, Loan>();

  /** @param file of the own region of `memory` */
  constructor(
    readonly native: NativeCalls,
    readonly memory: WorkMemory,
    readonly heap: Heap,
    readonly file: MemoryFile,
  ) {}

  /** Where the bytes lie in the group's memory from now on; undefined when there is no room. */
  lend(address: number, bytes: number): number | undefined {
    const { native, memory, file } = this;
    const before = address % native.pageBytes;
    const page = address - before;
    const whole = Math.ceil((before + bytes) / native.pageBytes) * native.pageBytes;
    const place = this.#allocate(whole); // regions begin with a page of their files
    if (place === undefined) return undefined;
    const offset = place - memory.regionStart(memory.region);
    if (!file.reserve(offset, whole)) return undefined;
    native.copy(this.#alias(place), page, whole);
    if (!file.mapOver(page, offset, whole)) return undefined;
    this.#loans.set(place + before, { page, bytes: whole });
    return place + before;
  }

  /** Something else may lie at these addresses by now: they stay as they are. @param places that `lend` returned */
  forget(places: readonly number[]): void {
    for (const place of places) this.#loans.delete(place);
  }

  /** Makes it the caller's own again, with the same contents. */
  giveBack(): void {
    // Where the system refuses, the file's pages stay, which nobody else will write to.
    for (const { page, bytes } of this.#loans.values()) this.native.replace(page, bytes);
    this.#loans.clear();
  }

  #allocate(bytes: number): number | undefined {
    try {
      return this.heap.allocate(bytes, this.native.pageBytes);
    } catch (error) {
      if (error instanceof ClipGenError && error.code === 'resource_exhausted') return undefined;
      throw error;
    }
  }

  #alias(place: number): number {
    return this.native.addressOf(this.memory.bytes) + place;
  }
}
