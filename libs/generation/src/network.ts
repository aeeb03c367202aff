import type { GraphBuilder } from '@clip-gen/graph';
import type { Scope } from '@clip-gen/nn';

/** A network as a graph, and the scope that knows which weights it asked for. */
export interface NetworkGraph {
  readonly graph: GraphBuilder;
  readonly scope: Scope;
}

/** Options of every call that computes. */
export interface CallOptions {
  /** Stops the work at the next operator; the call rejects with `cancelled`. */
  readonly signal?: AbortSignal;
}
