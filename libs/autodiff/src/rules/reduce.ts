import { div, expand, reducedCount, reshape, staticShape, type Node, type Value } from '@clip-gen/graph';
import { constantInts } from '../constant.ts';
import type { GradientRule } from '../rule.ts';

/** Gives each reduced element the gradient of its sum. */
function spread(node: Node, dy: Value): Value {
  const x = node.inputs[0]!;
  const axes = constantInts(node.inputs[1]!);
  const kept = staticShape(x.shape, node.op).map((size, i) => (axes.includes(i) ? 1 : size));
  return expand(reshape(dy, kept), staticShape(x.shape, node.op));
}

/** Gradients of reductions, by operator: the cotangent spread over what was reduced. */
export const reduceRules = {
  ReduceSum: (node, [dy]) => [spread(node, dy!), null],
  // divided before it is spread: the division then touches the smaller tensor
  ReduceMean: (node, [dy]) => {
    const count = reducedCount(node.inputs[0]!, constantInts(node.inputs[1]!));
    return [spread(node, div(dy!, count)), null];
  },
} satisfies Record<string, GradientRule>;
