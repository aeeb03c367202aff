import { emptyTensor } from '@clip-gen/tensor';
import {
  cast,
  reshape,
  scatterElementsAdd,
  scatterRowsAdd,
  intAttribute,
  staticShape,
  staticSize,
  type Value,
} from '@clip-gen/graph';
import type { GradientRule } from '../rule.ts';

function zeros(like: Value): Value {
  return like.graph.constant(emptyTensor('float32', staticShape(like.shape, 'Gather')));
}

export const indexingRules = {
  // rows add up where an index occurs more than once
  Gather: (node, [dy]) => {
    const [table, indices] = [node.inputs[0]!, node.inputs[1]!];
    const count = staticSize(indices.shape, 'Gather');
    const rows = reshape(cast(indices, 'int64'), [count, 1]);
    const updates = reshape(dy!, [count, ...staticShape(table.shape, 'Gather').slice(1)]);
    return [scatterRowsAdd(zeros(table), rows, updates), null];
  },
  GatherElements: (node, [dy]) => {
    const axis = intAttribute(node.attributes, 'axis', 0);
    return [scatterElementsAdd(zeros(node.inputs[0]!), node.inputs[1]!, dy!, axis), null];
  },
} satisfies Record<string, GradientRule>;
