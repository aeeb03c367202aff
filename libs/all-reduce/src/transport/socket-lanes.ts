import { connect as connectTcp, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import type { Failure } from '../failure.ts';
import { CONFIRMATION_BYTES, GREETING_BYTES, isConfirmation, replyTo, type Lane } from './handshake.ts';
import { HEADER_BYTES, readHeader, writeHeader } from './frame-header.ts';
import { mismatch } from './mismatch.ts';
import { PumpedReceiver, PumpedSender } from './pumped-sockets.ts';
import type { SocketPump } from './socket-pump.ts';
import { SocketReader } from './socket-reader.ts';
import type { TlsFiles } from './tls-files.ts';
import type { Frame } from './transport.ts';

const CONNECT_TIMEOUT_MS = 10_000;

/** What is on its way between two processes of one host: few enough to be read while it is still in the cache. */
const NEARBY_BYTES = 128 * 1024;

/** Where a rank is reached. */
export type PeerAddress = { readonly path: string } | { readonly host: string; readonly port: number };

/** What a lane tells the transport. */
export interface LaneEvents {
  report(failure: Failure): void;
  /** The connection is gone; `reason` says how, if not by an ordinary end. */
  lost(reason: string | undefined): void;
}

/** Frames to one rank on one channel. They wait until that rank has connected. */
export class SendingLane {
  /** Nobody is there to read. */
  ended = true;
  /** In the order in which they are sent; the first may be on its way. */
  readonly #frames: Frame[] = [];
  #socket: Socket | undefined;
  #direct: PumpedSender | undefined;

  /** @param pump moves the bytes where the system allows; otherwise the event loop does */
  constructor(
    readonly events: LaneEvents,
    readonly pump: SocketPump | undefined,
  ) {}

  get pending(): boolean {
    return this.#frames.length > 0;
  }

  attach(socket: Socket): void {
    if (this.#socket) {
      socket.destroy();
      return;
    }
    this.#socket = socket;
    this.ended = false;
    const lost = (): void => {
      this.ended = true;
      this.events.lost(undefined);
    };
    const descriptor = this.pump?.takeOver(socket);
    if (this.pump && descriptor !== undefined) {
      const { native } = this.pump;
      const isWithinHost = socket.localAddress !== undefined && socket.localAddress === socket.remoteAddress;
      if (isWithinHost) native.limitSending(descriptor, NEARBY_BYTES);
      this.#direct = new PumpedSender(native, descriptor, this.#frames, lost);
      socket.destroy();
      this.pump.start(this.#direct);
    } else {
      socket.on('close', lost);
      socket.resume(); // nothing comes back but the end
      for (const frame of this.#frames) this.#write(frame);
    }
  }

  send(frame: Frame): void {
    this.#frames.push(frame);
    if (this.pump && this.#direct) this.pump.start(this.#direct);
    else if (this.#socket) this.#write(frame);
  }

  fail(error: Error): void {
    const ended = this.#frames.splice(0);
    // Node still has the bytes, which are their owner's again now: the other side must not take what becomes of them.
    if (!this.#direct && ended.length > 0) this.#socket?.destroy();
    for (const frame of ended) frame.done(error);
  }

  /** What was sent still goes out. */
  close(): void {
    this.#direct?.close();
    this.#socket?.removeAllListeners('close');
    this.#socket?.end();
    this.#socket?.unref();
    setTimeout(() => this.#socket?.destroy(), 1000).unref();
  }

  #write(frame: Frame): void {
    const socket = this.#socket!;
    const header = Buffer.allocUnsafe(HEADER_BYTES);
    writeHeader(frame, header);
    // The socket keeps references: the bytes are the owner's again when the last write has been handed to the system.
    socket.cork();
    if (frame.bytes.length === 0) socket.write(header, this.#written);
    else {
      socket.write(header);
      socket.write(frame.bytes, this.#written);
    }
    socket.uncork();
  }

  /** Writes end in their order. */
  readonly #written = (error?: Error | null): void => {
    if (!error) this.#frames.shift()?.done();
  };
}

/** Frames from one rank on one channel. Connects when it is made. */
export class ReceivingLane {
  /** Nothing more comes. */
  ended = false;
  /** Frames received. */
  received = 0;
  /** When a frame last came, or nobody was waiting for one. */
  waitingSinceMs = 0;
  readonly #posted: Frame[] = [];
  readonly #targets: Generator<Uint8Array | undefined, never>;
  readonly #reader: SocketReader;
  readonly #socket: Socket;
  #direct: PumpedReceiver | undefined;
  #closed = false;
  /** A frame is being handed over: its owner may ask for the next. */
  #isHandingOver = false;

  /** @param pump moves the bytes where the system allows and nothing encrypts them; otherwise the event loop does */
  constructor(
    readonly lane: Lane,
    readonly address: PeerAddress,
    key: Uint8Array,
    tls: TlsFiles | undefined,
    readonly events: LaneEvents,
    readonly pump: SocketPump | undefined,
  ) {
    this.#targets = this.#sequence(key);
    this.#reader = new SocketReader(() => this.#targets.next().value);
    const secure = tls && 'port' in address;
    this.#socket = secure
      ? connectTls({ ...tls, ...address })
      : connectTcp({ ...address, onread: this.#reader.onread });
    if (secure) {
      this.#socket.on('data', (chunk: Buffer) => {
        if (!this.#reader.feed(chunk)) this.#socket.pause();
      });
    }
    this.#socket.setNoDelay(true);
    let trouble: string | undefined;
    this.#socket.setTimeout(CONNECT_TIMEOUT_MS, () => {
      trouble = `no answer within ${CONNECT_TIMEOUT_MS} ms`;
      this.#socket.destroy();
    });
    this.#socket.on('error', (error) => (trouble ??= error.message));
    const ended = (): void => this.#lost(trouble);
    this.#socket.on('end', ended).on('close', ended);
  }

  #lost(reason: string | undefined): void {
    this.ended = true;
    if (!this.#closed) this.events.lost(reason);
  }

  get pending(): boolean {
    return this.#posted.length > 0;
  }

  receive(frame: Frame): void {
    if (this.#posted.length === 0) this.waitingSinceMs = performance.now();
    this.#posted.push(frame);
    if (this.#isHandingOver) return; // whoever does that goes on
    if (this.pump && this.#direct) this.pump.start(this.#direct);
    else if (this.#posted.length === 1 && this.#reader.resume()) this.#socket.resume();
  }

  fail(error: Error): void {
    const ended = this.#posted.splice(0);
    if (!this.#direct && ended.length > 0) this.#socket.destroy(); // it would go on filling the first
    for (const frame of ended) frame.done(error);
  }

  close(): void {
    this.#closed = true;
    this.#direct?.close();
    this.#socket.destroy();
  }

  /** What the next bytes are, one after the other. Frames wait for `receive`. */
  *#sequence(key: Uint8Array): Generator<Uint8Array | undefined, never> {
    const { sender, receiver } = this.lane;
    const greeted = new Uint8Array(GREETING_BYTES);
    yield greeted;
    const reply = replyTo(greeted, key, this.lane);
    if (!reply) return yield* this.#stop(`what listens at its address is not a rank`);
    this.#socket.write(reply);
    const confirmed = new Uint8Array(CONFIRMATION_BYTES);
    yield confirmed;
    if (!isConfirmation(confirmed, greeted, reply, key)) return yield* this.#stop('it does not know the token');
    this.#socket.setTimeout(0);
    if (this.#takeOver()) yield undefined; // to Node's reader; the pump asks from here on
    const header = Buffer.alloc(HEADER_BYTES);
    for (;;) {
      yield header;
      const said = readHeader(header);
      if (!said) return yield* this.#stop('its frames are out of step');
      while (!this.#posted[0]) yield undefined;
      const frame = this.#posted[0];
      const problem = mismatch(sender, receiver, said.signature, said.byteLength, frame);
      if (problem) {
        this.events.report(problem);
        return yield* forEver();
      }
      yield frame.bytes;
      if (this.#posted[0] !== frame) return yield* forEver(); // it has failed
      this.#posted.shift();
      this.received++;
      this.waitingSinceMs = performance.now();
      this.#isHandingOver = true;
      frame.done();
      this.#isHandingOver = false;
    }
  }

  /** Node has read exactly what was said so far, and will read no more. */
  #takeOver(): boolean {
    const { pump } = this;
    const descriptor = pump?.takeOver(this.#socket);
    if (!pump || descriptor === undefined) return false;
    this.#reader.stop();
    const direct = new PumpedReceiver(
      pump.native,
      descriptor,
      () => this.#targets.next().value,
      () => this.pending,
      () => this.#lost(undefined),
    );
    this.#direct = direct;
    setImmediate(() => {
      this.#socket.removeAllListeners('end').removeAllListeners('close').destroy();
      if (!this.#closed) pump.start(direct);
    });
    return true;
  }

  *#stop(reason: string): Generator<undefined, never> {
    const { sender, receiver } = this.lane;
    const message = `rank ${receiver} cannot receive from rank ${sender}: ${reason}`;
    this.events.report({ code: 'unavailable', rank: sender, message });
    return yield* forEver();
  }
}

/** No further bytes are wanted. */
function* forEver(): Generator<undefined, never> {
  for (;;) yield undefined;
}
