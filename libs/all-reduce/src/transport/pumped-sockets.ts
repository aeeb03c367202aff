import { END, LATER, type NativeCalls } from '../native/native-calls.ts';
import type { PumpedSocket } from './socket-pump.ts';

/** Bytes that one socket moves before the others get their turn: what it sends is still in the cache when it is read. */
const BURST_BYTES = 256 * 1024;

/** Bytes to be sent one after the other. */
interface Parcel {
  readonly header: Uint8Array;
  readonly bytes: Uint8Array;
  readonly sent: () => void;
}

/** The sending end of a connection. Owns the descriptor. */
export class PumpedSender implements PumpedSocket {
  readonly wants = 'send';
  readonly #queue: Parcel[] = [];
  #sent = 0;
  #ended = false;

  /** @param lost is called when the other side has ended or broken the connection */
  constructor(
    readonly native: NativeCalls,
    readonly fileDescriptor: number,
    readonly lost: () => void,
  ) {}

  get busy(): boolean {
    return !this.#ended && this.#queue.length > 0;
  }

  push(parcel: Parcel): void {
    this.#queue.push(parcel);
  }

  advance(): boolean {
    let moved = 0;
    while (moved < BURST_BYTES && this.busy) {
      const { header, bytes, sent } = this.#queue[0]!;
      const inHeader = this.#sent < header.length;
      const part = inHeader ? header : bytes;
      const from = inHeader ? this.#sent : this.#sent - header.length;
      const length = Math.min(part.length - from, BURST_BYTES);
      const address = this.native.addressOf(part) + BigInt(from);
      const count = this.native.send(this.fileDescriptor, address, length, inHeader && bytes.length > 0);
      if (count === LATER) break;
      if (count === END) {
        this.#ended = true;
        this.lost();
        return true;
      }
      moved += count;
      this.#sent += count;
      if (this.#sent < header.length + bytes.length) continue;
      this.#queue.shift();
      this.#sent = 0;
      sent();
    }
    return moved > 0;
  }

  /** What the system has taken still goes out. */
  close(): void {
    this.#ended = true;
    this.native.close(this.fileDescriptor);
  }
}

/** The receiving end of a connection: fills one target after the other. Owns the descriptor. */
export class PumpedReceiver implements PumpedSocket {
  readonly wants = 'receive';
  #target: Uint8Array | undefined;
  #address = 0n;
  #filled = 0;
  #ended = false;

  /**
   * @param next the next target when the one before is full; undefined for "not now"
   * @param isWanted whether anybody waits for bytes
   * @param lost is called when the other side has ended or broken the connection
   */
  constructor(
    readonly native: NativeCalls,
    readonly fileDescriptor: number,
    readonly next: () => Uint8Array | undefined,
    readonly isWanted: () => boolean,
    readonly lost: () => void,
  ) {}

  get busy(): boolean {
    return !this.#ended && this.isWanted();
  }

  advance(): boolean {
    let moved = 0;
    while (moved < BURST_BYTES && this.busy && this.#findTarget()) {
      const length = Math.min(this.#target!.length - this.#filled, BURST_BYTES);
      const count = this.native.receive(this.fileDescriptor, this.#address + BigInt(this.#filled), length);
      if (count === LATER) break;
      if (count === END) {
        this.#ended = true;
        this.lost();
        return true;
      }
      moved += count;
      this.#filled += count;
      this.#findTarget(); // tells who waits for a full one
    }
    return moved > 0;
  }

  close(): void {
    this.#ended = true;
    this.native.close(this.fileDescriptor);
  }

  /** Moves on from a full target, past empty ones. */
  #findTarget(): boolean {
    while (!this.#target || this.#filled === this.#target.length) {
      this.#filled = 0;
      this.#target = this.next();
      if (!this.#target) return false;
      this.#address = this.native.addressOf(this.#target);
    }
    return true;
  }
}
