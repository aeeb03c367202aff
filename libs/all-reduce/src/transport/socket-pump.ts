import type { Socket } from 'node:net';
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { NativeCalls, SocketWish } from '../native/native-calls.ts';

/** A socket that this thread reads or writes by itself. */
export interface PumpedSocket extends SocketWish {
  /** There is something to move. */
  readonly busy: boolean;
  /** Moves what can be moved now, but not for long; whether that was anything. */
  advance(): boolean;
}

/** Bytes that come a little later are waited for awake: falling asleep and being woken takes about as long. */
const SPIN_MS = 0.5;
const SLEEP_MS = 10;
/** The event loop gets its turn so often, whatever there is to move: heartbeats go on, and news comes in. */
const TURN_MS = 10;

/**
 * Moves bytes over sockets by the system's calls for as long as somebody waits for them, instead of waiting for the event
 * loop to say that a socket is ready: that costs more than the bytes of a small call do.
 */
export class SocketPump {
  readonly #busy = new Set<PumpedSocket>();
  #isRunning = false;

  /** @param sleeps false where other ranks share the thread: it yields to the event loop only */
  constructor(
    readonly native: NativeCalls,
    readonly sleeps: boolean,
  ) {}

  /** Moves bytes at once, and goes on until the socket is no longer busy. */
  start(socket: PumpedSocket): void {
    if (socket.busy) socket.advance();
    if (!socket.busy) return;
    this.#busy.add(socket);
    if (!this.#isRunning) void this.#run();
  }

  /** The socket's connection, as a descriptor that the caller owns; undefined where Node does not tell. */
  takeOver(socket: Socket): number | undefined {
    const { _handle: handle } = socket as Socket & { readonly _handle?: { readonly fd?: number } | null };
    if (handle?.fd === undefined || handle.fd < 0) return undefined;
    const own = this.native.duplicate(handle.fd);
    return own < 0 ? undefined : own;
  }

  async #run(): Promise<void> {
    this.#isRunning = true;
    let movedMs = performance.now();
    let turnMs = movedMs;
    while (this.#busy.size > 0) {
      await Promise.resolve(); // a call that has just ended lets the next one begin
      let moved = false;
      for (const socket of this.#busy) {
        if (socket.busy && socket.advance()) moved = true;
        if (!socket.busy) this.#busy.delete(socket);
      }
      const now = performance.now();
      if (moved) movedMs = now;
      else if (this.sleeps && now - movedMs < SPIN_MS) this.native.yieldCore();
      else if (this.sleeps) this.native.awaitSockets([...this.#busy], SLEEP_MS);
      const idle = !moved && now - movedMs >= SPIN_MS;
      if (this.sleeps && !idle && now - turnMs < TURN_MS) continue;
      await nextTurn();
      turnMs = now;
    }
    this.#isRunning = false;
  }
}
