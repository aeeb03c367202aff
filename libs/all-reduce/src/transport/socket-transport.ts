import type { Socket } from 'node:net';
import { ClipGenError } from '@clip-gen/errors';
import type { Failure } from '../failure.ts';
import { HEADER_BYTES } from './frame-header.ts';
import type { Lane } from './handshake.ts';
import type { Listener } from './listener.ts';
import { ReceivingLane, SendingLane, type LaneEvents, type PeerAddress } from './socket-lanes.ts';
import type { SocketPump } from './socket-pump.ts';
import type { TlsFiles } from './tls-files.ts';
import { CHANNELS, type Frame, type Transport } from './transport.ts';

/** What a rank needs to exchange frames over sockets. */
export interface SocketOptions {
  readonly rank: number;
  /** Where each rank is reached. */
  readonly addresses: readonly PeerAddress[];
  /** Known to the group's ranks alone. */
  readonly key: Uint8Array;
  readonly listeners: readonly Listener[];
  readonly tls: TlsFiles | undefined;
  readonly report: (failure: Failure) => void;
  /** Moves bytes past the event loop; undefined where the system's calls are not at hand. */
  readonly pump: SocketPump | undefined;
}

/**
 * Frames over TCP, TLS or Unix sockets: one connection for each (from, to, channel), made by the receiver when it first
 * wants something, so that only ranks that exchange are connected.
 */
export class SocketTransport implements Transport {
  bytesSent = 0;
  readonly #options: SocketOptions;
  readonly #sending = new Map<number, SendingLane>();
  readonly #receiving = new Map<number, ReceivingLane>();
  readonly #gone = new Map<number, string>();
  #error: Error | undefined;
  #closed = false;

  constructor(options: SocketOptions) {
    this.#options = options;
    for (const listener of options.listeners) {
      listener.open(options.key, (lane, socket) => this.#accept(lane, socket));
    }
  }

  /** Frames received. */
  get received(): number {
    let sum = 0;
    for (const { received } of this.#receiving.values()) sum += received;
    return sum;
  }

  /** The rank from which nothing has come for longest, of those that are waited for. */
  get waitingFor(): number | undefined {
    const pending = [...this.#receiving].filter(([, lane]) => lane.pending);
    const [longest] = pending.sort(([, a], [, b]) => a.waitingSinceMs - b.waitingSinceMs);
    return longest && peerOf(longest[0]);
  }

  send(to: number, channel: number, frame: Frame): void {
    if (this.#error) return frame.done(this.#error);
    this.bytesSent += HEADER_BYTES + frame.bytes.length;
    this.#sendingLane(to, channel).send(frame);
    this.#checkGone(to);
  }

  receive(from: number, channel: number, frame: Frame): void {
    if (this.#error) return frame.done(this.#error);
    this.#receivingLane(from, channel).receive(frame);
    this.#checkGone(from);
  }

  /** A rank has left in order: who still waits for it waits in vain. */
  left(rank: number): void {
    this.#lost(rank, `rank ${rank} has left the group`);
  }

  fail(error: Error): void {
    this.#error ??= error;
    for (const lane of [...this.#sending.values(), ...this.#receiving.values()]) lane.fail(error);
  }

  close(): Promise<void> {
    if (this.#closed) return Promise.resolve(); // the numbers of its files may be somebody else's by now
    this.#closed = true;
    this.fail(new ClipGenError('cancelled', `rank ${this.#options.rank} has closed its group`));
    for (const lane of [...this.#sending.values(), ...this.#receiving.values()]) lane.close();
    for (const listener of this.#options.listeners) listener.close();
    return Promise.resolve();
  }

  /** Nothing moves past TLS. */
  get #pump(): SocketPump | undefined {
    return this.#options.tls ? undefined : this.#options.pump;
  }

  #accept({ sender, receiver, channel }: Lane, socket: Socket): void {
    const { rank, addresses } = this.#options;
    if (this.#error || sender !== rank || receiver >= addresses.length || channel >= CHANNELS) socket.destroy();
    else this.#sendingLane(receiver, channel).attach(socket);
  }

  #sendingLane(to: number, channel: number): SendingLane {
    const key = laneKey(to, channel);
    let lane = this.#sending.get(key);
    if (!lane) this.#sending.set(key, (lane = new SendingLane(this.#events(to), this.#pump)));
    return lane;
  }

  #receivingLane(from: number, channel: number): ReceivingLane {
    const key = laneKey(from, channel);
    let lane = this.#receiving.get(key);
    if (!lane) {
      const { rank, addresses, key: secret, tls } = this.#options;
      const ends = { sender: from, receiver: rank, channel };
      lane = new ReceivingLane(ends, addresses[from]!, secret, tls, this.#events(from), this.#pump);
      this.#receiving.set(key, lane);
    }
    return lane;
  }

  #events(peer: number): LaneEvents {
    const { rank, report } = this.#options;
    return {
      report,
      lost: (reason) =>
        this.#lost(peer, `rank ${rank} has lost its connection to rank ${peer}${reason ? ` (${reason})` : ''}`),
    };
  }

  #lost(peer: number, message: string): void {
    if (!this.#gone.has(peer)) this.#gone.set(peer, message);
    this.#checkGone(peer);
  }

  /** A rank may go when nobody waits for it, and what it sent before can still be received. */
  #checkGone(peer: number): void {
    const message = this.#gone.get(peer);
    if (message === undefined || this.#error) return;
    const stuck = [...this.#sending, ...this.#receiving].some(
      ([key, lane]) => peerOf(key) === peer && lane.pending && lane.ended,
    );
    if (stuck) this.#options.report({ code: 'unavailable', rank: peer, message });
  }
}

function laneKey(peer: number, channel: number): number {
  return peer * CHANNELS + channel;
}

function peerOf(key: number): number {
  return Math.floor(key / CHANNELS);
}
