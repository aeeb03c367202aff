import type { Arithmetic, Exchange } from '../algorithm/exchange.ts';
import type { Call } from '../call.ts';
import type { WorkMemory } from '../memory/work-memory.ts';
import type { SharedRegions } from '../transport/shared-regions.ts';
import type { Piece } from './piece.ts';
import type { Topology } from './topology.ts';

/** What a collective works with: one call under way. */
export interface Work {
  readonly call: Call;
  readonly signature: Uint8Array;
  readonly memory: WorkMemory;
  readonly topology: Topology;
  /** The ranks of this host where they share memory. */
  readonly regions: SharedRegions | undefined;
  readonly arithmetic: Arithmetic;
  /** The caller's tensors; for reduce-scatter and all-gather the input and the output. */
  readonly pieces: readonly Piece[];
  /** A call among some ranks over the transport. */
  exchange(ranks: readonly number[]): Exchange;
}
