import { readInteger } from '@clip-gen/config';
import { ClipGenError, invalidArgument } from '@clip-gen/errors';

/** What tells a process that it is one of several: the names are those of PyTorch's `torchrun`. */
export interface RankEnvironment {
  /** RANK, in [0, worldSize). */
  readonly rank: number;
  /** WORLD_SIZE. */
  readonly worldSize: number;
  /** LOCAL_WORLD_SIZE: processes of this host; 1 when not set. */
  readonly localWorldSize: number;
  /** LOCAL_RANK: which of them it is; RANK modulo their number when not set, 0 when that is not. */
  readonly localRank: number;
  /** MASTER_ADDR:MASTER_PORT, where rank 0 listens. */
  readonly rendezvous: string;
  /** CLIP_GEN_TOKEN: the secret that all processes share. */
  readonly token: string;
  /** CLIP_GEN_EPOCH: how often the training was put together before; 0 when not set. */
  readonly epoch: number;
  /** CLIP_GEN_ELASTIC=1: lost processes are started again, so that the others wait for them. */
  readonly elastic: boolean;
}

const MAX_RANKS = 1024;
const LEAST_TOKEN = 8;

/**
 * Reads who this process is; undefined where nothing says that there are others.
 *
 * @throws invalid_argument, failed_precondition for a variable that is missing or out of bounds
 */
export function readRank(environment: NodeJS.ProcessEnv): RankEnvironment | undefined {
  if (environment['RANK'] === undefined || environment['WORLD_SIZE'] === undefined) return undefined;
  const worldSize = integer(environment, 'WORLD_SIZE', 1, MAX_RANKS);
  const rank = integer(environment, 'RANK', 0, worldSize - 1);
  if (worldSize === 1) return undefined;
  const { MASTER_ADDR: address, CLIP_GEN_TOKEN: token = '' } = environment;
  if (!address) {
    throw new ClipGenError('failed_precondition', 'MASTER_ADDR must be the address of rank 0 where RANK is set');
  }
  if (token.length < LEAST_TOKEN) {
    throw new ClipGenError(
      'failed_precondition',
      `CLIP_GEN_TOKEN must be a secret of at least ${LEAST_TOKEN} characters, the same for all processes, where RANK is set; ` +
        `got ${token.length} characters`,
    );
  }
  const port = integer(environment, 'MASTER_PORT', 1, 65_535);
  const localWorldSize = integer(environment, 'LOCAL_WORLD_SIZE', 1, MAX_RANKS, 1);
  const hasPlace = environment['LOCAL_WORLD_SIZE'] !== undefined;
  return {
    rank,
    worldSize,
    localWorldSize,
    localRank: hasPlace ? integer(environment, 'LOCAL_RANK', 0, localWorldSize - 1, rank % localWorldSize) : 0,
    rendezvous: `${address.includes(':') ? `[${address}]` : address}:${port}`,
    token,
    epoch: integer(environment, 'CLIP_GEN_EPOCH', 0, 2 ** 31, 0),
    elastic: environment['CLIP_GEN_ELASTIC'] === '1',
  };
}

/** The variables that `readRank` reads, for a child process. */
export function rankVariables(rank: RankEnvironment): Record<string, string> {
  const [, address, port] = /^\[?([^\]]*)\]?:(\d+)$/.exec(rank.rendezvous) ?? [];
  return {
    RANK: String(rank.rank),
    WORLD_SIZE: String(rank.worldSize),
    LOCAL_RANK: String(rank.localRank),
    LOCAL_WORLD_SIZE: String(rank.localWorldSize),
    MASTER_ADDR: address!,
    MASTER_PORT: port!,
    CLIP_GEN_TOKEN: rank.token,
    CLIP_GEN_EPOCH: String(rank.epoch),
    CLIP_GEN_ELASTIC: rank.elastic ? '1' : '0',
  };
}

function integer(environment: NodeJS.ProcessEnv, name: string, least: number, most: number, absent?: number): number {
  const text = environment[name];
  if (text === undefined && absent !== undefined) return absent;
  const value = readInteger(text ?? '', least, most);
  if (value !== undefined) return value;
  throw invalidArgument(name, `an integer in [${least}, ${most}]`, text);
}
