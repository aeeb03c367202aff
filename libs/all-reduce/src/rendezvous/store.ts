import { randomBytes } from 'node:crypto';
import { Server, ServerCredentials, type ServerDuplexStream } from '@grpc/grpc-js';
import { ClipGenError, type ErrorCode } from '@clip-gen/errors';
import type { Failure } from '../failure.ts';
import { PROTOCOL_VERSION } from '../transport/handshake.ts';
import type { TlsFiles } from '../transport/tls-files.ts';
import {
  RendezvousService,
  type Join,
  type MemberMessage,
  type Progress,
  type StoreMessage,
} from './generated/rendezvous.ts';
import { isProof, joinProof, storeProof } from './proofs.ts';
import { absent, conflict, misfit, slowest, type GroupShape, type Member } from './roster.ts';

/** Times after which something is given up, in milliseconds. */
export interface RendezvousTimes {
  /** From the store's start until every rank has joined. */
  readonly joinTimeoutMs: number;
  /** Without a word from a rank. */
  readonly heartbeatTimeoutMs: number;
  /** Between two heartbeats. */
  readonly heartbeatMs: number;
}

/** The group that a store is for, and where it listens. */
export interface StoreOptions extends RendezvousTimes {
  /** Where to listen; port 0 takes a free one. */
  readonly host: string;
  readonly port: number;
  readonly token: string;
  readonly worldSize: number;
  readonly epoch: number;
  readonly settings: string;
  readonly tls: TlsFiles | undefined;
}

type Call = ServerDuplexStream<MemberMessage, StoreMessage>;

const MAX_STRANGERS = 256;
const STRANGER_TIMEOUT_MS = 5000;
const MAX_MESSAGE_BYTES = 4 * 2 ** 20;

/**
 * The one place where a group's membership is decided: who is in, when it starts, and why it ends. Runs at rank 0. Once it
 * has failed it stays so; a new epoch is a new store.
 */
export class Store {
  readonly #server = new Server({ 'grpc.max_receive_message_length': MAX_MESSAGE_BYTES });
  readonly #options: StoreOptions;
  readonly #shape: GroupShape;
  readonly #groupId = randomBytes(16);
  readonly #members = new Map<number, Member>();
  readonly #calls = new Map<number, Call>();
  #strangers = 0;
  #started = false;
  #failure: Failure | undefined;
  /** Attempts that were refused, for the message that says who is missing. */
  readonly #refusals = new Map<number, string>();
  #heartbeat: NodeJS.Timeout | undefined;
  #deadline: NodeJS.Timeout | undefined;
  #lastTickMs = performance.now();
  #emptied: (() => void) | undefined;

  private constructor(options: StoreOptions) {
    this.#options = options;
    const { worldSize, epoch, settings } = options;
    this.#shape = { worldSize, epoch, settings, protocol: PROTOCOL_VERSION };
  }

  /** @throws unavailable when the address is taken */
  static async listen(options: StoreOptions): Promise<{ readonly store: Store; readonly port: number }> {
    const store = new Store(options);
    const server = store.#server;
    server.addService(RendezvousService, { attend: (call: Call) => store.#attend(call) });
    const { host, tls, joinTimeoutMs, heartbeatMs } = options;
    const pair = tls && { private_key: Buffer.from(tls.key), cert_chain: Buffer.from(tls.cert) };
    const credentials = pair
      ? ServerCredentials.createSsl(Buffer.from(tls.ca), [pair], true)
      : ServerCredentials.createInsecure();
    const address = `${host.includes(':') ? `[${host}]` : host}:${options.port}`;
    const port = await new Promise<number>((resolve, reject) => {
      server.bindAsync(address, credentials, (cause, bound) => {
        if (cause) reject(new ClipGenError('unavailable', `cannot listen on ${address}: ${cause.message}`, { cause }));
        else resolve(bound);
      });
    });
    store.#heartbeat = setInterval(() => store.#tick(), heartbeatMs);
    store.#deadline = setTimeout(() => store.#giveUpJoining(), joinTimeoutMs);
    return { store, port };
  }

  /** Waits until every other rank has left or been told of the failure, at most `heartbeatTimeoutMs`. */
  async close(): Promise<void> {
    if (this.#calls.size > 0) {
      await new Promise<void>((resolve) => {
        this.#emptied = resolve;
        setTimeout(resolve, this.#failure ? 1000 : this.#options.heartbeatTimeoutMs).unref();
      });
    }
    clearInterval(this.#heartbeat);
    clearTimeout(this.#deadline);
    this.#server.forceShutdown();
  }

  #attend(call: Call): void {
    call.on('error', () => undefined); // 'close' or 'end' follows
    if (this.#strangers >= MAX_STRANGERS) {
      call.end();
      return;
    }
    this.#strangers++;
    let known: Member | undefined;
    let stranger = true;
    const settle = (): void => {
      if (stranger) this.#strangers--;
      stranger = false;
      clearTimeout(patience);
    };
    const patience = setTimeout(() => call.end(), STRANGER_TIMEOUT_MS);
    const nonce = randomBytes(32);
    call.write({ message: { $case: 'challenge', value: { nonce } } });
    call.on('data', ({ message }: MemberMessage) => {
      if (known) this.#hear(known, message);
      else if (stranger && message?.$case === 'join') {
        settle();
        known = this.#admit(call, nonce, message.value);
      } else call.end();
    });
    const ended = (): void => {
      settle();
      if (known && this.#calls.get(known.rank) === call) this.#gone(known);
      call.end();
    };
    call.on('end', ended).on('cancelled', ended);
  }

  #admit(call: Call, nonce: Uint8Array, join: Join): Member | undefined {
    const { token, worldSize } = this.#options;
    const { rank } = join;
    const refuse = (failure: Failure): undefined => {
      send(call, failure);
      call.end();
      return undefined;
    };
    if (!isProof(join.proof, joinProof(token, nonce, join))) {
      const message = `rank ${rank} has another token than rank 0`;
      if (rank < worldSize) this.#refusals.set(rank, message);
      return refuse({ code: 'failed_precondition', rank, message });
    }
    const problem = misfit(join, this.#shape);
    if (problem) {
      this.#fail(problem);
      return refuse(problem);
    }
    if (this.#failure) return refuse(this.#failure);
    if (rank >= worldSize || this.#members.has(rank) || !join.address) {
      const message =
        rank >= worldSize ? `rank must be in [0, ${worldSize}); got ${rank}` : `rank ${rank} has joined already`;
      return refuse({ code: 'failed_precondition', rank, message });
    }
    // A rank that does not say where it is reached is reached where it calls from.
    const address = { ...join.address, host: join.address.host || callerOf(call) };
    const member: Member = {
      ...{ rank, address, nonce: join.nonce },
      ...{ sharesMemory: undefined, begun: 0n, signature: new Uint8Array(0), heardMs: performance.now(), left: false },
    };
    this.#members.set(rank, member);
    this.#calls.set(rank, call);
    if (this.#members.size === worldSize) this.#announceMembers();
    return member;
  }

  #announceMembers(): void {
    clearTimeout(this.#deadline);
    const members = [...this.#members.values()].sort((a, b) => a.rank - b.rank);
    const addresses = members.map(({ address }) => address);
    for (const { rank, nonce } of members) {
      const proof = storeProof(this.#options.token, nonce, this.#groupId);
      const value = { groupId: this.#groupId, proof, addresses };
      this.#calls.get(rank)?.write({ message: { $case: 'membership', value } });
    }
  }

  #hear(member: Member, message: MemberMessage['message']): void {
    member.heardMs = performance.now();
    switch (message?.$case) {
      case 'ready':
        member.sharesMemory = message.value.sharesMemory;
        this.#startIfReady();
        return;
      case 'progress':
        return this.#progress(member, message.value);
      case 'failure': {
        const { stalled, rank, message: text, code } = message.value;
        if (stalled) this.#fail(slowest(this.#present(), { rank: member.rank, waitingFor: rank, message: text }));
        else this.#fail({ code: code as ErrorCode, rank, message: text });
        return;
      }
      case 'leave':
        this.#leave(member);
        return;
      case 'join':
      case undefined:
        return;
    }
  }

  #progress(member: Member, { begun, signature }: Progress): void {
    member.begun = begun;
    member.signature = signature;
    const problem = conflict(member, this.#present());
    if (problem) this.#fail(problem);
  }

  #startIfReady(): void {
    const members = [...this.#members.values()];
    if (this.#started || members.length < this.#shape.worldSize) return;
    if (members.some(({ sharesMemory }) => sharesMemory === undefined)) return;
    this.#started = true;
    const hosts = new Set(members.map(({ address }) => address.hostId));
    for (const { address, sharesMemory } of members) if (!sharesMemory) hosts.delete(address.hostId);
    this.#tell({ $case: 'start', value: { sharingHosts: [...hosts] } });
  }

  #leave(member: Member): void {
    member.left = true;
    this.#tell({ $case: 'left', value: { rank: member.rank } });
    this.#calls.get(member.rank)?.end();
    this.#remove(member);
  }

  #gone(member: Member): void {
    this.#remove(member);
    if (member.left) return;
    const message = `rank ${member.rank} is gone: its process has ended or its connection to rank 0 has broken`;
    this.#fail({ code: 'unavailable', rank: member.rank, message });
  }

  #remove({ rank }: Member): void {
    this.#calls.delete(rank);
    if (this.#calls.size === 0) this.#emptied?.();
  }

  #fail(failure: Failure): void {
    if (this.#failure) return;
    this.#failure = failure;
    clearTimeout(this.#deadline);
    for (const call of this.#calls.values()) send(call, failure);
  }

  #giveUpJoining(): void {
    const { joinTimeoutMs, worldSize } = this.#options;
    const refusals = [...this.#refusals].filter(([rank]) => !this.#members.has(rank)).map(([, reason]) => reason);
    const why = refusals.length > 0 ? ` (${refusals.join('; ')})` : '';
    const first = Array.from({ length: worldSize }, (_, rank) => rank).find((rank) => !this.#members.has(rank));
    const message = `${absent(worldSize, this.#members)} did not join within ${joinTimeoutMs} ms${why}`;
    this.#fail({ code: refusals.length > 0 ? 'failed_precondition' : 'deadline_exceeded', rank: first, message });
  }

  #tick(): void {
    const now = performance.now();
    const { heartbeatMs, heartbeatTimeoutMs } = this.#options;
    // Whoever was stopped itself cannot tell who else was silent meanwhile.
    const slept = now - this.#lastTickMs > heartbeatMs + heartbeatTimeoutMs / 2;
    this.#lastTickMs = now;
    this.#tell({ $case: 'heartbeat', value: {} });
    for (const member of this.#present()) {
      if (slept) member.heardMs = now;
      if (now - member.heardMs <= heartbeatTimeoutMs) continue;
      const message = `rank ${member.rank} has not been heard of for ${heartbeatTimeoutMs} ms: it is stopped or cut off`;
      this.#fail({ code: 'unavailable', rank: member.rank, message });
    }
  }

  #present(): Member[] {
    return [...this.#members.values()].filter(({ rank }) => this.#calls.has(rank));
  }

  #tell(message: NonNullable<StoreMessage['message']>): void {
    for (const call of this.#calls.values()) call.write({ message });
  }
}

/** The caller's IP address. */
function callerOf(call: Call): string {
  const peer = call.getPeer();
  return peer.slice(0, peer.lastIndexOf(':')).replace(/^\[|\]$/g, '');
}

function send(call: Call, { code, rank, message }: Failure): void {
  call.write({ message: { $case: 'failure', value: { code, rank, message, stalled: false } } });
}
