import type { Combine, WireFormat } from '../kernel/kernels.ts';
import { wireBytes } from '../kernel/kernels.ts';
import { FRAME_BYTES, type WorkMemory } from '../memory/work-memory.ts';
import type { Transport } from '../transport/transport.ts';

/** A stretch of elements: the first and how many. */
export interface Slice {
  readonly start: number;
  readonly count: number;
}

/** What is done with the elements of a stretch of memory. */
export interface Arithmetic {
  readonly combine: Combine;
  readonly format: WireFormat;
  /** Multiplies the finished sum. */
  readonly factor: number;
}

/**
 * One call between some ranks, which an algorithm knows by their places in the list: 0 … size − 1. Memory is named by
 * addresses in the rank's work memory.
 */
export class Exchange {
  readonly size: number;
  /** The own place. */
  readonly me: number;
  readonly #sends: Promise<void>[] = [];

  constructor(
    readonly memory: WorkMemory,
    readonly transport: Transport,
    readonly signature: Uint8Array,
    readonly ranks: readonly number[],
    rank: number,
  ) {
    this.size = ranks.length;
    this.me = ranks.indexOf(rank);
  }

  /** Starts a send; `finished` waits for it. The bytes must stay as they are until then. */
  send(to: number, channel: number, address: number, byteLength: number): void {
    const bytes = this.memory.bytes.subarray(address, address + byteLength);
    const sent = this.transport.send(this.ranks[to]!, channel, { signature: this.signature, bytes });
    sent.catch(() => undefined); // `finished` sees it, unless a receive fails first
    this.#sends.push(sent);
  }

  receive(from: number, channel: number, address: number, byteLength: number): Promise<void> {
    const bytes = this.memory.bytes.subarray(address, address + byteLength);
    return this.transport.receive(this.ranks[from]!, channel, { signature: this.signature, bytes });
  }

  /** When every byte sent so far may be changed again. */
  async finished(): Promise<void> {
    await Promise.all(this.#sends.splice(0));
  }
}

/** Elements in `parts` slices as equal as multiples of 16 allow; the last may be short or empty. */
export function slices(count: number, parts: number): Slice[] {
  const each = Math.ceil(count / parts / 16) * 16;
  return Array.from({ length: parts }, (_, i) => {
    const start = Math.min(i * each, count);
    return { start, count: Math.min(each, count - start) };
  });
}

/** A slice in pieces that fit a frame. An empty slice has one empty frame, so that ranks still meet. */
export function frames({ start, count }: Slice, format: WireFormat): Slice[] {
  const most = FRAME_BYTES / wireBytes(format);
  return Array.from({ length: Math.max(1, Math.ceil(count / most)) }, (_, i) => ({
    start: start + i * most,
    count: Math.min(most, count - i * most),
  }));
}
