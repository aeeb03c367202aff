import type { Node, Value } from '@clip-gen/graph';

/**
 * The gradient of one operator: from the cotangents of its outputs (null: no gradient arrives) to those of its inputs.
 * `needs[i]` says whether input i's gradient is wanted; the result for others is ignored.
 */
export type GradientRule = (
  node: Node,
  cotangents: readonly (Value | null)[],
  needs: readonly boolean[],
) => readonly (Value | null)[];

/** `none`: the gradient is zero (or not defined) and stops here. `inference`: the operator is not for training graphs. */
export type Rule = GradientRule | 'none' | 'inference';
