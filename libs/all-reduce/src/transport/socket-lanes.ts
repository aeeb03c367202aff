import { connect as connectTcp, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import type { Failure } from '../failure.ts';
import { CONFIRMATION_BYTES, GREETING_BYTES, isConfirmation, replyTo, type Lane } from './handshake.ts';
import { SIGNATURE_BYTES } from '../call.ts';
import { mismatch } from './mismatch.ts';
import { PumpedReceiver, PumpedSender } from './pumped-sockets.ts';
import type { SocketPump } from './socket-pump.ts';
import { SocketReader } from './socket-reader.ts';
import type { TlsFiles } from './tls-files.ts';
import type { Frame } from './transport.ts';

/** Byte length, a constant, signature. */
const HEADER_BYTES = 8 + SIGNATURE_BYTES;
const FRAME_MARK = 0x46_52_41_4d;
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

interface Waiting {
  readonly frame: Frame;
  resolve(): void;
  reject(error: Error): void;
}

/** Frames to one rank on one channel. They wait until that rank has connected. */
export class SendingLane {
  /** Nobody is there to read. */
  ended = true;
  readonly #waiting = new Set<Waiting>();
  #socket: Socket | undefined;
  #direct: PumpedSender | undefined;

  /** @param pump moves the bytes where the system allows; otherwise the event loop does */
  constructor(
    readonly events: LaneEvents,
    readonly pump: SocketPump | undefined,
  ) {}

  get pending(): boolean {
    return this.#waiting.size > 0;
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
      this.#direct = new PumpedSender(native, descriptor, lost);
      socket.destroy();
    } else {
      socket.on('close', lost);
      socket.resume(); // nothing comes back but the end
    }
    for (const waiting of this.#waiting) this.#write(waiting);
  }

  /** @returns bytes that go over the connection */
  send(frame: Frame): { readonly done: Promise<void>; readonly bytes: number } {
    const done = new Promise<void>((resolve, reject) => {
      const waiting: Waiting = { frame, resolve, reject };
      this.#waiting.add(waiting);
      if (this.#socket) this.#write(waiting);
    });
    return { done, bytes: HEADER_BYTES + frame.bytes.length };
  }

  fail(error: Error): void {
    for (const { reject } of this.#waiting) reject(error);
    this.#waiting.clear();
  }

  /** What was sent still goes out. */
  close(): void {
    this.#direct?.close();
    this.#socket?.removeAllListeners('close');
    this.#socket?.end();
    this.#socket?.unref();
    setTimeout(() => this.#socket?.destroy(), 1000).unref();
  }

  #write(waiting: Waiting): void {
    const socket = this.#socket!;
    const { signature, bytes } = waiting.frame;
    const header = Buffer.allocUnsafe(HEADER_BYTES);
    header.writeUInt32LE(bytes.length, 0);
    header.writeUInt32LE(FRAME_MARK, 4);
    header.set(signature, 8);
    if (this.pump && this.#direct) {
      const sent = (): void => {
        if (this.#waiting.delete(waiting)) waiting.resolve();
      };
      this.#direct.push({ header, bytes, sent });
      this.pump.start(this.#direct);
      return;
    }
    // The socket keeps references: the bytes are the caller's again when the last write has been handed to the system.
    const written = (error?: Error | null): void => {
      if (!error && this.#waiting.delete(waiting)) waiting.resolve();
    };
    socket.cork();
    if (bytes.length === 0) socket.write(header, written);
    else {
      socket.write(header);
      socket.write(bytes, written);
    }
    socket.uncork();
  }
}

/** Frames from one rank on one channel. Connects when it is made. */
export class ReceivingLane {
  /** Nothing more comes. */
  ended = false;
  readonly #posted: Waiting[] = [];
  readonly #targets: Generator<Uint8Array | undefined, never>;
  readonly #reader: SocketReader;
  readonly #socket: Socket;
  #direct: PumpedReceiver | undefined;
  #closed = false;

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

  receive(frame: Frame): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#posted.push({ frame, resolve, reject });
      if (this.pump && this.#direct) this.pump.start(this.#direct);
      else if (this.#posted.length === 1 && this.#reader.resume()) this.#socket.resume();
    });
  }

  fail(error: Error): void {
    for (const { reject } of this.#posted.splice(0)) reject(error);
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
      if (header.readUInt32LE(4) !== FRAME_MARK) return yield* this.#stop('its frames are out of step');
      while (!this.#posted[0]) yield undefined;
      const { frame, resolve } = this.#posted[0];
      const problem = mismatch(sender, receiver, header.subarray(8), header.readUInt32LE(0), frame);
      if (problem) {
        this.events.report(problem);
        for (;;) yield undefined;
      }
      yield frame.bytes;
      this.#posted.shift();
      resolve();
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
    for (;;) yield undefined;
  }
}
