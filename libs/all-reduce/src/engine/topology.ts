import type { Algorithm } from '../call.ts';
import type { WireFormat } from '../kernel/kernels.ts';

/** Which rank is on which host. */
export interface Topology {
  readonly rank: number;
  readonly worldSize: number;
  /** Ranks of the own host, ascending. */
  readonly local: readonly number[];
  /** The first rank of each host, ascending. */
  readonly leaders: readonly number[];
  /** Whether the ranks of the own host see each other's memory. */
  readonly sharesMemory: boolean;
}

/** @param hosts the host of each rank, by any name */
export function topologyOf(rank: number, hosts: readonly string[], sharesMemory: boolean): Topology {
  const all = hosts.map((_, index) => index);
  return {
    rank,
    worldSize: hosts.length,
    local: all.filter((other) => hosts[other] === hosts[rank]),
    leaders: all.filter((other) => hosts.indexOf(hosts[other]!) === other),
    sharesMemory,
  };
}

/** All ranks, ascending. */
export function everybody({ worldSize }: Topology): number[] {
  return Array.from({ length: worldSize }, (_, rank) => rank);
}

/** Up to this many bytes a tree's fewer hops count more than its larger share of bytes. */
const TREE_BYTES = 256 * 1024;
/** Among fewer ranks a ring has hardly more hops, and fewer messages. */
const TREE_RANKS = 8;

/**
 * Up to this many bytes two ranks save time by waiting for each other once; above, summing only a half each counts more.
 * At most a frame.
 */
const PAIR_BYTES = 256 * 1024;

/** The algorithm between ranks that exchange over sockets, by the bytes on the wire. */
export function flatAlgorithm(
  asked: Algorithm,
  size: number,
  bytes: number,
  format: WireFormat,
): 'pair' | 'ring' | 'tree' {
  if (asked === 'ring' || asked === 'tree') return asked;
  // Both would have to round and sum alike what is rounded on the wire.
  if (size === 2 && format === 'float32' && bytes <= PAIR_BYTES) return 'pair';
  return size >= TREE_RANKS && bytes <= TREE_BYTES ? 'tree' : 'ring';
}

/**
 * Whether the ranks of a host first join theirs and one of them exchanges with other hosts. Every rank decides alike.
 */
export function isHierarchical(asked: Algorithm, { worldSize, leaders }: Topology): boolean {
  if (asked === 'ring' || asked === 'tree') return false;
  return asked === 'hierarchical' || (leaders.length > 1 && leaders.length < worldSize);
}
