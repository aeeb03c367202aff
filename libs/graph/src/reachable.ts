import type { GraphBuilder } from './graph-builder.ts';
import type { Node } from './value.ts';

/** Nodes and value names that the outputs need, nodes in order with composites lowered. */
export function reachable(graph: GraphBuilder): { nodes: Node[]; values: Set<string> } {
  const values = new Set(graph.outputs.map((output) => output.value.name));
  const nodes: Node[] = [];
  const visit = (scope: readonly Node[]): void => {
    for (let i = scope.length - 1; i >= 0; i--) {
      const node = scope[i]!;
      if (node.lowered) {
        visit(node.lowered);
      } else if (node.outputs.some((output) => values.has(output.name))) {
        nodes.push(node);
        for (const input of node.inputs) if (input) values.add(input.name);
      }
    }
  };
  visit(graph.nodes);
  return { nodes: nodes.reverse(), values };
}

/** Parameters that the outputs depend on, by name, in order of creation: the inputs that a training model has. */
export function usedParameters(graph: GraphBuilder): string[] {
  const { values } = reachable(graph);
  return graph.parameters.filter(({ name }) => values.has(name)).map(({ name }) => name);
}
