import { createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { ClipGenError } from '@clip-gen/errors';
import {
  hearProcess,
  isProven,
  newNonce,
  prove,
  say,
  type Arrival,
  type Invitation,
  type PointMessage,
} from './meeting-messages.ts';

/** Connections at most that have not said who they are. */
const MOST_STRANGERS = 256;
const STRANGER_MS = 5000;
/** Lost peers of a waiting connection are found out after so long. */
const KEEPALIVE_MS = 10_000;

interface Waiting {
  readonly arrival: Arrival;
  readonly socket: Socket;
}

/** Where rank 0 keeps watch over who wants to be in the next group, from its start to its end. */
export class MeetingPoint {
  readonly #server: Server;
  readonly #token: string;
  readonly #worldSize: number;
  readonly #waiting = new Map<number, Waiting>();
  readonly #sockets = new Set<Socket>();
  #strangers = 0;
  #changed: () => void = () => undefined;

  private constructor(server: Server, token: string, worldSize: number) {
    this.#server = server;
    this.#token = token;
    this.#worldSize = worldSize;
  }

  /**
   * @param host a loopback address is listened on alone, any other on all interfaces
   * @param worldSize processes of the whole training
   * @throws unavailable when the address is taken
   */
  static async open(host: string, port: number, token: string, worldSize: number): Promise<MeetingPoint> {
    const server = createServer();
    const point = new MeetingPoint(server, token, worldSize);
    server.on('connection', (socket) => point.#meet(socket));
    await new Promise<void>((resolve, reject) => {
      server.once('error', (cause) => {
        reject(new ClipGenError('unavailable', `cannot listen on ${host}:${port}: ${cause.message}`, { cause }));
      });
      server.listen({ port, ...(isLoopback(host) ? { host } : {}) }, resolve);
    });
    return point;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** Those who wait to be invited, by rank. */
  get arrivals(): readonly Arrival[] {
    return Array.from(this.#waiting.values(), ({ arrival }) => arrival).sort((a, b) => a.rank - b.rank);
  }

  /** Resolves when all these ranks wait here, or after a time. @returns whether they do */
  async gather(ranks: readonly number[], withinMs: number): Promise<boolean> {
    const isComplete = (): boolean => ranks.every((rank) => this.#waiting.has(rank));
    if (isComplete()) return true;
    return new Promise<boolean>((resolve) => {
      const end = (): void => {
        clearTimeout(timer);
        this.#changed = () => undefined;
        resolve(isComplete());
      };
      const timer = setTimeout(end, withinMs);
      this.#changed = () => {
        if (isComplete()) end();
      };
    });
  }

  /** Sends those among the waiting who are members into a group. */
  invite(invitation: Invitation): void {
    for (const rank of invitation.members) {
      const found = this.#waiting.get(rank);
      if (!found) continue;
      this.#waiting.delete(rank);
      const { socket, arrival } = found;
      say(socket, { invitation, proof: prove(this.#token, arrival.nonce, invitation) });
      socket.end();
    }
  }

  /** Tells those who wait that the training is over. */
  async close(): Promise<void> {
    for (const { socket, arrival } of this.#waiting.values()) {
      say(socket, { over: true, proof: prove(this.#token, arrival.nonce, 'over') });
    }
    for (const socket of this.#sockets) socket.end();
    const closed = new Promise((resolve) => this.#server.close(resolve));
    const cut = setTimeout(() => {
      for (const socket of this.#sockets) socket.destroy();
    }, 1000);
    await closed;
    clearTimeout(cut);
  }

  #meet(socket: Socket): void {
    socket.on('error', () => undefined); // 'close' follows
    if (this.#strangers >= MOST_STRANGERS) return void socket.destroy();
    this.#sockets.add(socket);
    this.#strangers++;
    let known: Waiting | undefined;
    let stranger = true;
    const settle = (): void => {
      if (stranger) this.#strangers--;
      stranger = false;
      clearTimeout(patience);
    };
    const patience = setTimeout(() => socket.destroy(), STRANGER_MS);
    const own = newNonce();
    hearProcess(socket, ({ arrival, proof }) => {
      if (known) return void socket.destroy();
      const problem = this.#problem(arrival, isProven(proof, this.#token, own, arrival));
      if (problem !== undefined) {
        say(socket, { refused: problem } satisfies PointMessage);
        return void socket.end();
      }
      settle();
      socket.setKeepAlive(true, KEEPALIVE_MS);
      known = { arrival, socket };
      this.#waiting.get(arrival.rank)?.socket.destroy(); // of a process that this one has taken the place of
      this.#waiting.set(arrival.rank, known);
      this.#changed();
    });
    socket.once('close', () => {
      settle();
      this.#sockets.delete(socket);
      if (known && this.#waiting.get(known.arrival.rank) === known) this.#waiting.delete(known.arrival.rank);
    });
    socket.on('end', () => socket.end());
    say(socket, { nonce: own });
  }

  #problem({ rank, worldSize }: Arrival, proven: boolean): string | undefined {
    if (!proven) return `rank ${rank} has another token than rank 0`;
    if (worldSize !== this.#worldSize) {
      return `rank ${rank} was started as one of ${worldSize} processes, rank 0 as one of ${this.#worldSize}`;
    }
    if (rank === 0 || rank >= worldSize) return `rank must be in [1, ${worldSize}); got ${rank}`;
    return undefined;
  }
}

/** Whether an address never leaves the machine. */
export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || host.startsWith('127.');
}
