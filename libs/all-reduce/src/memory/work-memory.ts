import { ClipGenError, invalidArgument } from '@clip-gen/errors';
import { Kernels, TAIL_BYTES } from '../kernel/kernels.ts';
import { CHANNELS } from '../transport/transport.ts';

/** Bytes of one frame at most: large enough to hide its header, small enough to stay in a core's cache. */
export const FRAME_BYTES = 512 * 1024;
/** Bytes at a region's start for flags and announcements. */
export const CONTROL_BYTES = 65536;
const PAGE = 65536;

/** Sizes of one rank's memory; equal on all ranks of a group. */
export interface MemorySizes {
  /** Bytes of one piece of a call, a multiple of 64 KiB. There are two such stages. */
  readonly stageBytes: number;
  /** Bytes that `allocate` can give out, a multiple of 64 KiB. */
  readonly sharedBytes: number;
}

/** Bytes of a rank's region. */
export function regionBytes({ stageBytes, sharedBytes }: MemorySizes): number {
  return CONTROL_BYTES + 2 * stageBytes + sharedBytes;
}

/** Bytes before the first region, for each rank of the process. */
function privateBytes(stageBytes: number): number {
  return pages(TAIL_BYTES + CHANNELS * FRAME_BYTES + stageBytes) * PAGE;
}

/**
 * The WebAssembly memory for a rank and, where they share memory, its neighbours on the host.
 *
 * @param threads ranks of this process that work on it
 */
export function createMemory(sizes: MemorySizes, regions: number, threads = 1): WebAssembly.Memory {
  const total = pages(threads * privateBytes(sizes.stageBytes) + regions * regionBytes(sizes));
  if (total > 65536) {
    throw new ClipGenError(
      'resource_exhausted',
      `${regions} ranks with sharedBytes ${sizes.sharedBytes} need more than the 4 GiB of a WebAssembly memory; lower sharedBytes`,
    );
  }
  try {
    return new WebAssembly.Memory({ initial: total, maximum: total, shared: true });
  } catch (cause) {
    throw new ClipGenError('resource_exhausted', `could not reserve ${Math.ceil(total / 16)} MiB of memory`, { cause });
  }
}

/**
 * What lies where in the memory that the kernels work on:
 *
 *     for the rank alone: tails · a receive buffer for each channel · 16-bit copies of the stages
 *     region 0 · region 1 · …
 *     region: flags · stage 0 · stage 1 · what `allocate` gave out
 *
 * Regions are those of the ranks that share memory, or the one of a rank on its own. All of it is reserved, none of it
 * touched before it is used.
 */
export class WorkMemory {
  readonly kernels: Kernels;
  readonly bytes: Uint8Array;
  readonly words: Int32Array;
  readonly #private: number;

  /**
   * @param region the own region among those in the memory
   * @param threads as the memory was created, and which of them this is
   */
  constructor(
    readonly memory: WebAssembly.Memory,
    readonly sizes: MemorySizes,
    readonly region: number,
    readonly threads: { readonly count: number; readonly index: number } = { count: 1, index: 0 },
  ) {
    this.bytes = new Uint8Array(memory.buffer);
    this.words = new Int32Array(memory.buffer);
    this.#private = threads.index * privateBytes(sizes.stageBytes);
    this.kernels = new Kernels(memory, this.#private);
  }

  /** Where a frame of this channel is received. */
  receiveBuffer(channel: number): number {
    return this.#private + TAIL_BYTES + channel * FRAME_BYTES;
  }

  /** Where the 16-bit form of stage 0 or 1 goes. */
  encoded(stage: number): number {
    return this.receiveBuffer(CHANNELS) + (stage * this.sizes.stageBytes) / 2;
  }

  regionStart(region: number): number {
    return this.threads.count * privateBytes(this.sizes.stageBytes) + region * regionBytes(this.sizes);
  }

  /** The own stage, 0 or 1. */
  stage(index: number): number {
    return this.regionStart(this.region) + CONTROL_BYTES + index * this.sizes.stageBytes;
  }

  get heapStart(): number {
    return this.stage(2);
  }
}

/** Checks and rounds what the options ask for. */
export function memorySizes(stageBytes: number, sharedBytes: number): MemorySizes {
  const bound = (name: string, value: number, least: number, most: number): void => {
    if (!Number.isInteger(value) || value < least || value > most) {
      throw invalidArgument(name, `a number of bytes in [${least}, ${most}]`, value);
    }
  };
  bound('stageBytes', stageBytes, 4096, 2 ** 28);
  bound('sharedBytes', sharedBytes, 0, 3 * 2 ** 30);
  return { stageBytes: pages(stageBytes) * PAGE, sharedBytes: pages(sharedBytes) * PAGE };
}

function pages(bytes: number): number {
  return Math.ceil(bytes / PAGE);
}
