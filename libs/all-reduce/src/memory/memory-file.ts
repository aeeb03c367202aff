import { closeSync, ftruncateSync, fstatSync, openSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { MEMORY_FOLDER } from '../native/host-id.ts';
import type { NativeCalls } from '../native/native-calls.ts';
import { ownedName, removeAbandoned } from '../native/process-files.ts';
import type { WordSleeper } from '../transport/shared-regions.ts';
import { CONTROL_BYTES, regionBytes, type MemorySizes, type WorkMemory } from './work-memory.ts';

/**
 * A rank's region as a file in memory, which its neighbours map. The name is only there until they have: a rank that
 * crashes leaves nothing but what the kernel frees with the last process.
 */
export class MemoryFile {
  readonly path: string;
  readonly #fd: number;
  #unlinked = false;

  private constructor(
    readonly native: NativeCalls,
    readonly sizes: MemorySizes,
    path: string,
    fd: number,
  ) {
    this.path = path;
    this.#fd = fd;
  }

  /** undefined where there is no such folder or no room for the flags and stages. */
  static create(native: NativeCalls, sizes: MemorySizes): MemoryFile | undefined {
    removeAbandoned(MEMORY_FOLDER);
    const path = join(MEMORY_FOLDER, ownedName('.memory'));
    let fd: number;
    try {
      fd = openSync(path, 'wx+', 0o600);
    } catch {
      return undefined;
    }
    const file = new MemoryFile(native, sizes, path, fd);
    try {
      ftruncateSync(fd, regionBytes(sizes));
      if (native.reserve(fd, 0, CONTROL_BYTES + 2 * sizes.stageBytes)) return file;
    } catch {
      // no room
    }
    file.close();
    return undefined;
  }

  /** Takes pages for `bytes` from `offset` of the region on. False when there is no room: they must not be touched. */
  reserve(offset: number, bytes: number): boolean {
    return bytes === 0 || this.native.reserve(this.#fd, offset, bytes);
  }

  /** Maps `bytes` from `offset` of the region on over other memory of this process, too. False when the system refuses. */
  mapOver(address: number, offset: number, bytes: number): boolean {
    return this.native.mapFile(address, bytes, this.#fd, offset);
  }

  /** Removes the name; what is mapped stays. */
  unlink(): void {
    if (this.#unlinked) return;
    this.#unlinked = true;
    rmSync(this.path, { force: true });
  }

  close(): void {
    this.unlink();
    closeSync(this.#fd);
  }
}

/**
 * Maps the files of all ranks of the host over their regions. False when one cannot be mapped; then the memory is ordinary
 * memory again.
 *
 * WebAssembly memory is pages of the process like any other, and stays where it is as long as it cannot grow: a file mapped
 * over them is what the kernels and JavaScript see from then on.
 */
export function mapRegions(native: NativeCalls, memory: WorkMemory, paths: readonly string[]): boolean {
  const bytes = regionBytes(memory.sizes);
  const base = native.addressOf(memory.bytes);
  for (const [region, path] of paths.entries()) {
    if (!mapFile(native, base + memory.regionStart(region), bytes, path)) {
      unmapRegions(native, memory, region);
      return false;
    }
  }
  return true;
}

/** Lets go of the first `count` regions' files. */
export function unmapRegions(native: NativeCalls, memory: WorkMemory, count: number): void {
  const base = native.addressOf(memory.bytes);
  native.unmap(base + memory.regionStart(0), count * regionBytes(memory.sizes));
}

function mapFile(native: NativeCalls, address: number, bytes: number, path: string): boolean {
  let fd: number;
  try {
    fd = openSync(path, 'r+');
  } catch {
    return false;
  }
  try {
    // A shorter file would end the process at the first touch past its end.
    return fstatSync(fd).size >= bytes && native.mapFile(address, bytes, fd);
  } finally {
    closeSync(fd);
  }
}

/** Futexes on words of the memory: they work between processes that map the same file. */
export function futexSleeper(native: NativeCalls, memory: WorkMemory): WordSleeper {
  const base = native.addressOf(memory.bytes);
  return {
    sleep: (address, seen, milliseconds) => native.futexWait(base + address, seen, milliseconds),
    wake: (address) => native.futexWake(base + address),
    yieldCore: native.yieldCore,
  };
}
