import type { OnReadOpts } from 'node:net';

/** Bytes that may arrive before anybody wants them; then the sender has to wait. */
const EARLY_BYTES = 65536;

/**
 * Fills one target after another from a stream of bytes, straight from the socket where it can. Whoever owns the targets
 * says which is next; while there is none the socket is paused.
 */
export class SocketReader {
  readonly #early = Buffer.allocUnsafeSlow(EARLY_BYTES);
  #target: Uint8Array | undefined;
  #filled = 0;
  /** Arrived, but nobody wants it yet. */
  #unread: Uint8Array | undefined;
  #isStopped = false;

  /** @param next called when the target before is full; undefined for "not now", then `resume` is called later */
  constructor(readonly next: () => Uint8Array | undefined) {}

  /** For `net.connect`: reads without a copy. */
  readonly onread: OnReadOpts = {
    buffer: () => {
      if (!this.#target) this.#advance();
      return this.#target ? this.#target.subarray(this.#filled) : this.#early;
    },
    callback: (count, buffer) => {
      if (buffer.buffer === this.#early.buffer) return this.feed(this.#early.subarray(0, count));
      this.#filled += count;
      this.#advance();
      return !this.#isStopped;
    },
  };

  /** For `onread`, while `next` is being asked: no byte is read after the target that has just been filled. */
  stop(): void {
    this.#isStopped = true;
  }

  /** For sockets that hand out buffers. False: pause, until `resume` returns true. The bytes are kept until then. */
  feed(bytes: Uint8Array): boolean {
    this.#advance();
    while (bytes.length > 0 && this.#target) {
      const count = Math.min(bytes.length, this.#target.length - this.#filled);
      this.#target.set(bytes.subarray(0, count), this.#filled);
      this.#filled += count;
      bytes = bytes.subarray(count);
      this.#advance();
    }
    this.#unread = bytes.length > 0 ? bytes : undefined;
    return this.#unread === undefined;
  }

  /** There may be a target again. True when everything that had arrived is read: let the socket go on. */
  resume(): boolean {
    return this.feed(this.#unread ?? new Uint8Array(0));
  }

  /** Moves on from a full target, past empty ones. */
  #advance(): void {
    while (!this.#isStopped && (!this.#target || this.#filled === this.#target.length)) {
      this.#filled = 0;
      this.#target = this.next();
      if (!this.#target) return;
    }
  }
}
