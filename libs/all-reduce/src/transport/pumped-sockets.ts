import { END, LATER, type NativeCalls } from '../native/native-calls.ts';
import { HEADER_BYTES, writeHeader } from './frame-header.ts';
import type { PumpedSocket } from './socket-pump.ts';
import type { Frame } from './transport.ts';

/** Bytes that one socket moves before the others get their turn: what it sends is still in the cache when it is read. */
const BURST_BYTES = 256 * 1024;

/** The sending end of a connection. Owns the descriptor. */
export class PumpedSender implements PumpedSocket {
  readonly wants = 'send';
  readonly #header = Buffer.alloc(HEADER_BYTES);
  readonly #headerAddress: number;
  /** Of the first frame's bytes. */
  #address = 0;
  /** Of the first frame, header and bytes. */
  #sent = 0;
  #ended = false;

  /**
   * @param frames to be sent one after the other; a frame that is sent leaves the list
   * @param lost is called when the other side has ended or broken the connection
   */
  constructor(
    readonly native: NativeCalls,
    readonly fileDescriptor: number,
    readonly frames: Frame[],
    readonly lost: () => void,
  ) {
    this.#headerAddress = native.addressOf(this.#header);
  }

  get busy(): boolean {
    return !this.#ended && this.frames.length > 0;
  }

  advance(): boolean {
    let moved = 0;
    while (moved < BURST_BYTES && this.busy) {
      const frame = this.frames[0]!;
      if (this.#sent === 0) {
        writeHeader(frame, this.#header);
        this.#address = this.native.addressOf(frame.bytes);
      }
      const inHeader = this.#sent < HEADER_BYTES;
      const rest = HEADER_BYTES + frame.bytes.length - this.#sent;
      const length = Math.min(inHeader ? HEADER_BYTES - this.#sent : rest, BURST_BYTES);
      const address = inHeader ? this.#headerAddress + this.#sent : this.#address + this.#sent - HEADER_BYTES;
      const count = this.native.send(this.fileDescriptor, address, length, inHeader && length < rest);
      if (count === LATER) break;
      if (count === END) {
        this.#ended = true;
        this.lost();
        return true;
      }
      moved += count;
      this.#sent += count;
      if (count === rest) {
        this.frames.shift();
        this.#sent = 0;
        frame.done(); // which may send more
      } else if (count < length) break; // no room for more
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
  #address = 0;
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
      const count = this.native.receive(this.fileDescriptor, this.#address + this.#filled, length);
      if (count === LATER) break;
      if (count === END) {
        this.#ended = true;
        this.lost();
        return true;
      }
      moved += count;
      this.#filled += count;
      this.#findTarget(); // tells who waits for a full one
      if (count < length) break; // nothing more is there
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
