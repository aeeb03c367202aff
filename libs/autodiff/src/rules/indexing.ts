import {
  expand,
  intAttribute,
  reshape,
  scatterElementsAdd,
  staticShape,
  staticSize,
  type Value,
} from '@clip-gen/graph';
import type { GradientRule } from '../rule.ts';

/** Zeros made when the graph runs: a constant would be as large as the table, inside the model. */
function zeros(graph: Value['graph'], shape: readonly number[]): Value {
  return expand(graph.scalar(0), shape);
}

/** Gradients of what picks or places elements by index, by operator; indices have none. */
export const indexingRules = {
  // rows add up where an index occurs more than once
  Gather: (node, [dy]) => {
    const [table, indices] = [node.inputs[0]!, node.inputs[1]!];
    const count = staticSize(indices.shape, 'Gather');
    const [rows, ...row] = staticShape(table.shape, 'Gather') as [number, ...number[]];
    const width = row.reduce((product, size) => product * size, 1);
    const at = expand(reshape(indices, [count, 1]), [count, width]);
    const sum = scatterElementsAdd(zeros(table.graph, [rows, width]), at, reshape(dy!, [count, width]), 0);
    return [reshape(sum, table.shape), null];
  },
  GatherElements: (node, [dy]) => {
    const axis = intAttribute(node.attributes, 'axis', 0);
    const x = node.inputs[0]!;
    return [
      scatterElementsAdd(zeros(x.graph, staticShape(x.shape, 'GatherElements')), node.inputs[1]!, dy!, axis),
      null,
    ];
  },
} satisfies Record<string, GradientRule>;
