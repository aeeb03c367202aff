import type { DType } from '@clip-gen/tensor';
import type { Attributes } from './attribute.ts';
import type { Shape } from './dim.ts';
import type { GraphBuilder } from './graph-builder.ts';
import type { OpType } from './op-type.ts';

/** The result of a node, an input, a parameter or a constant: a name with a dtype and a shape, owned by one graph. */
export interface Value {
  readonly graph: GraphBuilder;
  readonly name: string;
  readonly dtype: DType;
  readonly shape: Shape;
  /** The node that computes it; absent for inputs, parameters and constants. */
  readonly producer?: Node;
}

/** One operator application. `lowered` holds the nodes that a composite stands for. */
export interface Node {
  readonly op: OpType;
  readonly inputs: readonly (Value | null)[];
  readonly outputs: readonly Value[];
  readonly attributes: Attributes;
  readonly lowered?: readonly Node[];
  /** Position in creation order, which is a topological order. */
  readonly order: number;
}
