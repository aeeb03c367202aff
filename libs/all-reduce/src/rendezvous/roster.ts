import { SIGNATURE_BYTES } from '../call.ts';
import type { Failure } from '../failure.ts';
import { differentCalls } from '../transport/mismatch.ts';
import type { Address, Join } from './generated/rendezvous.ts';

/** How the group is to be. */
export interface GroupShape {
  readonly worldSize: number;
  readonly epoch: number;
  readonly protocol: number;
  readonly settings: string;
}

/** What the store knows of a rank. */
export interface Member {
  readonly rank: number;
  readonly address: Address;
  readonly nonce: Uint8Array;
  /** undefined until it is. */
  sharesMemory: boolean | undefined;
  begun: bigint;
  /** Of the call begun last; empty before the first. */
  signature: Uint8Array;
  /** performance.now() of its last message. */
  heardMs: number;
  left: boolean;
}

/** Why a rank that knows the token cannot be in the group, for all ranks to read; undefined when it can. */
export function misfit(join: Join, shape: GroupShape): Failure | undefined {
  const { rank } = join;
  const differs = (what: string, theirs: string | number, ours: string | number): Failure => ({
    code: 'failed_precondition',
    rank,
    message: `rank ${rank} has ${what} ${theirs}, rank 0 has ${ours}; all ranks must have the same`,
  });
  if (join.protocol !== shape.protocol) return differs('protocol version', join.protocol, shape.protocol);
  if (join.worldSize !== shape.worldSize) return differs('world size', join.worldSize, shape.worldSize);
  if (join.epoch !== shape.epoch) return differs('epoch', join.epoch, shape.epoch);
  if (join.settings !== shape.settings) return differs('settings', join.settings, shape.settings);
  return undefined;
}

/** Two ranks that have begun as many calls and are in different ones; undefined when all agree. */
export function conflict(member: Member, members: readonly Member[]): Failure | undefined {
  const { rank, begun, signature } = member;
  if (signature.length !== SIGNATURE_BYTES) return undefined;
  const other = members.find(
    (each) =>
      each.begun === begun &&
      each.signature.length === SIGNATURE_BYTES &&
      Buffer.compare(each.signature, signature) !== 0,
  );
  return other && differentCalls(other.rank, other.signature, rank, signature);
}

/** Which rank holds up a call that `reporter` sees standing still. */
export function slowest(
  members: readonly Member[],
  reporter: { readonly rank: number; readonly waitingFor: number | undefined; readonly message: string },
): Failure {
  const begunBy = (rank: number): bigint => members.find((member) => member.rank === rank)?.begun ?? 0n;
  const first = members.reduce((least, member) => (member.begun < least.begun ? member : least));
  const code = 'deadline_exceeded';
  if (first.begun < begunBy(reporter.rank)) {
    const message = `rank ${first.rank} has made ${first.begun} calls; ${reporter.message}`;
    return { code, rank: first.rank, message };
  }
  return { code, rank: reporter.waitingFor, message: reporter.message };
}

/** Ranks that have not come, for a message: `ranks 1, 3`. */
export function absent(worldSize: number, members: ReadonlyMap<number, unknown>): string {
  const ranks = Array.from({ length: worldSize }, (_, rank) => rank).filter((rank) => !members.has(rank));
  const shown = ranks.slice(0, 10).join(', ') + (ranks.length > 10 ? ', …' : '');
  return `${ranks.length === 1 ? 'rank' : 'ranks'} ${shown}`;
}
