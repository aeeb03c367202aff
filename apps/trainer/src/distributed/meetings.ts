import { createServer, type AddressInfo } from 'node:net';
import { ClipGenError } from '@clip-gen/errors';
import { arrive } from './arrive.ts';
import type { Invitation } from './meeting-messages.ts';
import { isLoopback, MeetingPoint } from './meeting-point.ts';

/** How a process meets others whose number may change. */
export interface MeetingOptions {
  readonly rank: number;
  /** Processes of the whole training. */
  readonly worldSize: number;
  /** `host:port` at rank 0, which listens there all the time. */
  readonly rendezvous: string;
  readonly token: string;
}

/** Who meets, as far as this process knows. */
export interface MeetingWish {
  /** The last group that it was in; 0 before. */
  readonly epoch: number;
  /** Whether this process has just been started. */
  readonly isNew: boolean;
  /** Whom to wait for, besides itself: rank 0 alone needs it. */
  readonly expected: readonly number[];
  /** How long. */
  readonly withinMs: number;
  /** Whether all of them must come. */
  readonly all?: boolean;
}

/** Rank 0 may be away for so long, e.g. while it is started again. */
const ABSENT_MS = 600_000;

/** Forms groups again and again of those who are there: rank 0 decides, the others ask it. */
export class Meetings {
  readonly #options: MeetingOptions;
  readonly #host: string;
  readonly #port: number;
  #point: MeetingPoint | undefined;

  constructor(options: MeetingOptions) {
    this.#options = options;
    const [, bracketed, plain, port] = /^(?:\[(.+)\]|([^:]+)):(\d+)$/.exec(options.rendezvous) ?? [];
    this.#host = bracketed ?? plain ?? '';
    this.#port = Number(port);
  }

  /** Ranks that wait to be let in, as rank 0 knows them. */
  get waiting(): readonly number[] {
    return this.#point?.arrivals.map(({ rank }) => rank) ?? [];
  }

  /**
   * Resolves when a group is formed that this process is in.
   *
   * @throws deadline_exceeded at rank 0, when all must come and do not
   * @throws TrainingOver, failed_precondition elsewhere: see `arrive`
   */
  async meet({ epoch, isNew, expected, withinMs, all }: MeetingWish): Promise<Invitation & { rendezvous: string }> {
    const { rank, worldSize, token } = this.#options;
    const host = this.#host.includes(':') ? `[${this.#host}]` : this.#host;
    if (rank > 0) {
      const who = { rank, worldSize, epoch, isNew };
      const invitation = await arrive(this.#host, this.#port, token, who, ABSENT_MS);
      return { ...invitation, rendezvous: `${host}:${invitation.port}` };
    }
    this.#point ??= await MeetingPoint.open(this.#host, this.#port, token, worldSize);
    const complete = await this.#point.gather(expected, withinMs);
    const { arrivals } = this.#point;
    if (all && !complete) {
      const missing = expected.filter((other) => arrivals.every((arrival) => arrival.rank !== other));
      const message = `${missing.length === 1 ? 'rank' : 'ranks'} ${missing.join(', ')} did not come within ${withinMs / 1000} s`;
      throw new ClipGenError('deadline_exceeded', message);
    }
    const invitation: Invitation = {
      epoch: Math.max(epoch, ...arrivals.map((arrival) => arrival.epoch)) + 1,
      members: [0, ...arrivals.map((arrival) => arrival.rank)],
      port: await freePortOf(isLoopback(this.#host) ? this.#host : undefined),
      introduces: isNew || arrivals.some((arrival) => arrival.isNew),
    };
    this.#point.invite(invitation);
    return { ...invitation, rendezvous: `${host}:${invitation.port}` };
  }

  /** Tells those who wait that the training is over. */
  async close(): Promise<void> {
    await this.#point?.close();
    this.#point = undefined;
  }
}

/** A port of an address, or of all, that nobody listens on now. */
async function freePortOf(host: string | undefined): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject).listen({ port: 0, ...(host === undefined ? {} : { host }) }, resolve);
  });
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}
