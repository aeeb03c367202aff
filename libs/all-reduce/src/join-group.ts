import { invalidArgument } from '@clip-gen/errors';
import { Group } from './group.ts';
import { createGroups } from './in-process-groups.ts';
import { memorySizes } from './memory/work-memory.ts';
import { TRANSPORTS, type ThreadOptions, type TransportKind } from './thread/messages.ts';
import { ThreadRunner } from './thread/thread-runner.ts';
import { inProcessTransports } from './transport/in-process.ts';
import type { TlsFiles } from './transport/tls-files.ts';

/** How a rank joins. What is marked "equal" must be the same on all ranks; a rank that differs is told so, and so are all. */
export interface JoinOptions {
  /** In [0, worldSize). Rank 0 runs the store that the others meet at. */
  readonly rank: number;
  /** Equal. In [1, 1024]. */
  readonly worldSize: number;
  /** `host:port` of rank 0. On a loopback address, every socket is on loopback; otherwise on all interfaces. */
  readonly rendezvous: string;
  /** Equal: the secret without which nobody gets in, at least 8 characters. It is never sent. */
  readonly token: string;
  /** Equal: counts up when a group is formed again. Default 0. */
  readonly epoch?: number;
  /** Equal. Default `auto`. */
  readonly transport?: TransportKind;
  /** A call without progress for so long fails, naming the rank that holds it up. Default 300,000. */
  readonly timeoutMs?: number;
  /** A rank that is silent for so long is lost: stopped or cut off. Default 10,000. */
  readonly heartbeatTimeoutMs?: number;
  /** How long to wait for all ranks. Default 120,000. */
  readonly joinTimeoutMs?: number;
  /** Equal: bytes of a piece of a call. Two are kept, in shared memory where it is used. Default 4 MiB. */
  readonly stageBytes?: number;
  /** Equal: bytes that `allocate` can give out; reserved when used. Default 256 MiB. */
  readonly sharedBytes?: number;
  /** Ranks of one name are taken for ranks of one host. Default: found out. */
  readonly hostId?: string;
  /** Encrypts and authenticates all TCP connections; without it only the token is kept secret. */
  readonly tls?: TlsFiles;
}

/**
 * Becomes a member of a group; resolves when all ranks are. A thread is started that carries out the group's calls and
 * keeps in touch with the other ranks, whatever the calling thread does.
 *
 * @throws invalid_argument for an option out of its range
 * @throws failed_precondition for another token, protocol version, world size, epoch or setting than rank 0's
 * @throws deadline_exceeded when not all ranks come in time, naming those that did not
 * @throws unavailable when a rank is lost meanwhile, or an address is taken
 */
export async function joinGroup(options: JoinOptions): Promise<Group> {
  const checked = check(options);
  const { rank, worldSize, epoch, sizes } = checked;
  if (worldSize === 1) return createGroups(1, sizes, inProcessTransports)[0]!;
  return new Group(rank, worldSize, epoch, await ThreadRunner.start(checked));
}

function check(options: JoinOptions): ThreadOptions {
  const { rank, worldSize, token, transport = 'auto', epoch = 0, tls, hostId } = options;
  integer('worldSize', worldSize, 1, 1024);
  integer('rank', rank, 0, worldSize - 1);
  integer('epoch', epoch, 0, 2 ** 32 - 1);
  const { timeoutMs = 300_000, heartbeatTimeoutMs = 10_000, joinTimeoutMs = 120_000 } = options;
  for (const [name, value] of Object.entries({ timeoutMs, heartbeatTimeoutMs, joinTimeoutMs })) {
    integer(name, value, 100, 2 ** 31 - 1);
  }
  if (typeof token !== 'string' || token.length < 8) {
    throw invalidArgument('token', 'a string of at least 8 characters', `${String(token).length} characters`);
  }
  if (!TRANSPORTS.includes(transport)) throw invalidArgument('transport', `one of ${TRANSPORTS.join(', ')}`, transport);
  const [, bracketed, plain, port] = /^(?:\[(.+)\]|([^:]+)):(\d+)$/.exec(options.rendezvous) ?? [];
  const host = bracketed ?? plain;
  if (host === undefined || Number(port) < 1 || Number(port) > 65535) {
    throw invalidArgument('rendezvous', 'host:port with a port in [1, 65535]', options.rendezvous);
  }
  return {
    ...{ rank, worldSize, host, port: Number(port), token, epoch, transport, tls, hostId },
    ...{ timeoutMs, heartbeatTimeoutMs, joinTimeoutMs },
    heartbeatMs: Math.max(20, Math.min(1000, heartbeatTimeoutMs / 5)),
    sizes: memorySizes(options.stageBytes ?? 2 ** 22, options.sharedBytes ?? 2 ** 28),
  };
}

function integer(name: string, value: number, least: number, most: number): void {
  if (!Number.isInteger(value) || value < least || value > most) {
    throw invalidArgument(name, `an integer in [${least}, ${most}]`, value);
  }
}
