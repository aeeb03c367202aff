import { randomBytes } from 'node:crypto';
import { credentials, type ClientDuplexStream } from '@grpc/grpc-js';
import { ClipGenError, type ErrorCode } from '@clip-gen/errors';
import { failureError, type Failure } from '../failure.ts';
import { groupKey, PROTOCOL_VERSION } from '../transport/handshake.ts';
import type { TlsFiles } from '../transport/tls-files.ts';
import {
  RendezvousClient,
  type Address,
  type Join,
  type MemberMessage,
  type StoreMessage,
} from './generated/rendezvous.ts';
import { isProof, joinProof, storeProof } from './proofs.ts';
import type { RendezvousTimes } from './store.ts';

/** How a rank finds the store, and what it says of itself. */
export interface MembershipOptions extends RendezvousTimes {
  /** The store's `host:port`. */
  readonly rendezvous: string;
  readonly token: string;
  readonly rank: number;
  readonly worldSize: number;
  readonly epoch: number;
  readonly settings: string;
  readonly tls: TlsFiles | undefined;
  readonly protocol?: number;
}

/** What a rank learns when everybody has joined. */
export interface Members {
  /** By rank. */
  readonly addresses: readonly Address[];
  /** The group's secret. */
  readonly key: Uint8Array;
}

/** What a member hears later. */
export interface MembershipEvents {
  /** The group is over. Once. */
  failed(failure: Failure): void;
  left(rank: number): void;
  /** Asked before every heartbeat. */
  progress(): { readonly begun: number; readonly ended: number; readonly signature: Uint8Array };
}

const LEAVE_TIMEOUT_MS = 1000;

type Stream = ClientDuplexStream<MemberMessage, StoreMessage>;

/** One rank's side of the rendezvous. Its heartbeats are those of the thread that it lives in, which must never block. */
export class Membership {
  readonly #options: MembershipOptions;
  readonly #events: MembershipEvents;
  readonly #client: RendezvousClient;
  #stream: Stream | undefined;
  #heartbeat: NodeJS.Timeout | undefined;
  #failure: Failure | undefined;
  #ended = false;
  #storeLeft = false;
  #leaving = false;
  #heardMs = performance.now();
  #lastTickMs = performance.now();
  #waiting: { readonly reject: (error: Error) => void } | undefined;
  #onMembers: ((members: Members) => void) | undefined;
  #onStart: ((sharingHosts: readonly string[]) => void) | undefined;

  constructor(options: MembershipOptions, events: MembershipEvents) {
    this.#options = options;
    this.#events = events;
    const { tls, rendezvous } = options;
    const secure = tls
      ? credentials.createSsl(Buffer.from(tls.ca), Buffer.from(tls.key), Buffer.from(tls.cert))
      : credentials.createInsecure();
    this.#client = new RendezvousClient(rendezvous, secure, {
      'grpc.enable_http_proxy': 0,
      'grpc.initial_reconnect_backoff_ms': 100,
      'grpc.max_reconnect_backoff_ms': 1000,
      ...(tls?.servername === undefined ? {} : { 'grpc.ssl_target_name_override': tls.servername }),
    });
  }

  /**
   * Resolves when all ranks have joined.
   *
   * @throws deadline_exceeded when the store does not answer, or ranks are missing
   * @throws failed_precondition when this rank does not fit in
   */
  async join(address: Address): Promise<Members> {
    const { rendezvous, joinTimeoutMs } = this.#options;
    await new Promise<void>((resolve, reject) => {
      this.#client.waitForReady(Date.now() + joinTimeoutMs, (cause) => {
        if (!cause) return resolve();
        const message = `rank 0 did not answer at ${rendezvous} within ${joinTimeoutMs} ms`;
        reject(new ClipGenError('deadline_exceeded', message, { cause }));
      });
    });
    return new Promise<Members>((resolve, reject) => {
      this.#onMembers = resolve;
      this.#waiting = { reject };
      const stream = this.#client.attend();
      this.#stream = stream;
      const nonce = randomBytes(32);
      stream.on('data', ({ message }: StoreMessage) => this.#hear(message, address, nonce));
      stream.on('error', () => this.#broken());
      stream.on('end', () => this.#broken());
    });
  }

  /** Says that this rank has connected its memory, and waits until all have. Returns hosts that share theirs. */
  ready(sharesMemory: boolean): Promise<readonly string[]> {
    return new Promise((resolve, reject) => {
      if (this.#failure) return reject(failureError(this.#failure));
      this.#onStart = resolve;
      this.#waiting = { reject };
      this.#send({ $case: 'ready', value: { sharesMemory } });
    });
  }

  /** Tells the store; its verdict comes back as `failed`, or this one after a while if it does not answer. */
  report({ code, rank, message }: Failure, stalled = false): void {
    this.#send({ $case: 'failure', value: { code, rank, message, stalled } });
    const own: Failure = { code, rank, message };
    setTimeout(() => this.#fail(own), this.#options.heartbeatTimeoutMs).unref();
  }

  /** Leaves in order; nothing is heard afterwards. */
  async close(): Promise<void> {
    this.#leaving = true;
    clearInterval(this.#heartbeat);
    const stream = this.#stream;
    if (stream && !this.#ended) {
      const ended = new Promise<void>((resolve) => {
        stream.on('end', resolve).on('error', resolve);
        setTimeout(resolve, LEAVE_TIMEOUT_MS).unref();
      });
      if (!this.#failure) this.#send({ $case: 'leave', value: {} });
      stream.end();
      await ended;
    }
    this.#client.close();
  }

  #hear(message: StoreMessage['message'], address: Address, nonce: Uint8Array): void {
    this.#heardMs = performance.now();
    const { token, rank, worldSize, epoch, settings, protocol = PROTOCOL_VERSION } = this.#options;
    switch (message?.$case) {
      case 'challenge': {
        const join: Join = { protocol, rank, worldSize, epoch, settings, address, nonce, proof: Buffer.alloc(0) };
        join.proof = joinProof(token, message.value.nonce, join);
        this.#send({ $case: 'join', value: join });
        this.#heartbeat ??= setInterval(() => this.#tick(), this.#options.heartbeatMs); // not before: the store would refuse
        return;
      }
      case 'membership': {
        const { groupId, proof, addresses } = message.value;
        if (!isProof(proof, storeProof(token, nonce, groupId)) || addresses.length !== worldSize) {
          const text = `what answers as rank 0 does not know the token of rank ${rank}`;
          return this.#fail({ code: 'failed_precondition', rank: 0, message: text });
        }
        this.#onMembers?.({ addresses, key: groupKey(token, groupId) });
        return;
      }
      case 'start':
        this.#waiting = undefined;
        this.#onStart?.(message.value.sharingHosts);
        return;
      case 'failure': {
        const { code, rank: blamed, message: text } = message.value;
        return this.#fail({ code: code as ErrorCode, rank: blamed, message: text });
      }
      case 'left':
        if (message.value.rank === 0) this.#storeLeft = true;
        if (message.value.rank !== rank) this.#events.left(message.value.rank);
        return;
      case 'heartbeat':
      case undefined:
        return;
    }
  }

  #tick(): void {
    const now = performance.now();
    const { heartbeatMs, heartbeatTimeoutMs } = this.#options;
    const slept = now - this.#lastTickMs > heartbeatMs + heartbeatTimeoutMs / 2;
    this.#lastTickMs = now;
    if (slept) this.#heardMs = now;
    const { begun, ended, signature } = this.#events.progress();
    this.#send({ $case: 'progress', value: { begun: BigInt(begun), ended: BigInt(ended), signature } });
    if (!this.#storeLeft && now - this.#heardMs > heartbeatTimeoutMs) {
      const message = `rank 0 has not been heard of for ${heartbeatTimeoutMs} ms: it is stopped, or rank ${this.#options.rank} is cut off`;
      this.#fail({ code: 'unavailable', rank: 0, message });
    }
  }

  #broken(): void {
    this.#ended = true;
    if (this.#storeLeft) return;
    const message = 'rank 0 is gone: its process has ended or the connection to it has broken';
    this.#fail({ code: 'unavailable', rank: 0, message });
  }

  #fail(failure: Failure): void {
    if (this.#failure || this.#leaving) return;
    this.#failure = failure;
    this.#waiting?.reject(failureError(failure));
    this.#waiting = undefined;
    this.#events.failed(failure);
  }

  #send(message: NonNullable<MemberMessage['message']>): void {
    if (this.#stream?.writable) this.#stream.write({ message });
  }
}
