import type { Combine, WireFormat } from '../kernel/kernels.ts';
import { wireBytes } from '../kernel/kernels.ts';
import { FRAME_BYTES, type WorkMemory } from '../memory/work-memory.ts';
import type { Transport } from '../transport/transport.ts';
import { carryOn, type Flow, type Receipt, type Wait } from './flow.ts';

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
  #sending = 0;
  #sendError: Error | undefined;
  readonly #whenSent: ((error?: Error) => void)[] = [];

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

  /** Starts a send. The bytes must stay as they are until a flow has waited for `'sent'`, or `run` has ended. */
  send(to: number, channel: number, address: number, byteLength: number): void {
    const bytes = this.memory.bytes.subarray(address, address + byteLength);
    this.#sending++;
    this.transport.send(this.ranks[to]!, channel, { signature: this.signature, bytes, done: this.#sent });
  }

  /** Bytes that are received at an address by a flow that yields this. */
  receipt(from: number, channel: number, address: number, byteLength: number): Receipt {
    return { from, channel, bytes: this.memory.bytes.subarray(address, address + byteLength) };
  }

  /** Carries flows on side by side. Resolves when all have ended and every byte sent may be changed again. */
  run(...flows: readonly Flow[]): Promise<void> {
    return new Promise((resolve, reject) => {
      let running = flows.length;
      const settle = (error?: Error): void => (error ? reject(error) : resolve());
      const ended = (error?: Error): void => {
        if (error) reject(error);
        else if (--running === 0) this.#afterSends(settle);
      };
      for (const flow of flows) carryOn(flow, this.#wait, ended);
    });
  }

  readonly #wait = (what: Wait, goOn: (error?: Error) => void): void => {
    if (what === 'sent') return this.#afterSends(goOn);
    const { from, channel, bytes } = what;
    this.transport.receive(this.ranks[from]!, channel, { signature: this.signature, bytes, done: goOn });
  };

  #afterSends(goOn: (error?: Error) => void): void {
    if (this.#sending === 0) goOn(this.#sendError);
    else this.#whenSent.push(goOn);
  }

  readonly #sent = (error?: Error): void => {
    this.#sendError ??= error;
    this.#sending--;
    while (this.#sending === 0 && this.#whenSent.length > 0) this.#whenSent.shift()!(this.#sendError); // which may send more
  };
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
