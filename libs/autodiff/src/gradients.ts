import { ClipGenError } from '@clip-gen/errors';
import { add, expand, sameShape, showShape, staticShape, type Node, type Value } from '@clip-gen/graph';
import { RULES } from './rules.ts';

/** An output to differentiate and the gradient that arrives at it; without one, a scalar's gradient is 1. */
export interface Target {
  readonly value: Value;
  readonly cotangent?: Value;
}

/**
 * Reverse-mode differentiation: adds to the graph the nodes that compute, for each value of `withRespectTo`, the sum
 * over `targets` of cotangentᵀ · ∂value/∂x. The graph must have static shapes.
 *
 * @returns one value a member of `withRespectTo`, of the same shape
 * @throws failed_precondition when a target does not depend on one of them, or an operator is not for training
 */
export function gradients(targets: readonly Target[] | Value, withRespectTo: readonly Value[]): Value[] {
  const goals: readonly Target[] = 'graph' in targets ? [{ value: targets }] : targets;
  const wanted = new Set(withRespectTo.map((value) => value.name));
  const { nodes, depends } = between(
    goals.map((goal) => goal.value),
    wanted,
  );
  const sums = new Map<string, Value>();
  const accumulate = (value: Value, gradient: Value): void => {
    if (!sameShape(value.shape, gradient.shape)) {
      throw new ClipGenError(
        'internal',
        `gradient of ${value.name} ${showShape(value.shape)} came out as ${showShape(gradient.shape)}`,
      );
    }
    const sum = sums.get(value.name);
    sums.set(value.name, sum ? add(sum, gradient) : gradient);
  };
  for (const { value, cotangent } of goals) accumulate(value, cotangent ?? one(value));

  for (const node of nodes) {
    const cotangents = node.outputs.map((output) => sums.get(output.name) ?? null);
    if (cotangents.every((cotangent) => cotangent === null)) continue;
    const rule = RULES[node.op];
    if (rule === 'none') continue;
    if (rule === 'inference') {
      throw new ClipGenError('failed_precondition', `${node.op} is an inference operator and has no gradient`);
    }
    if (node.op !== 'Split' && cotangents.slice(1).some((cotangent) => cotangent !== null)) {
      throw new ClipGenError('failed_precondition', `only the first result of ${node.op} has a gradient`);
    }
    const needs = node.inputs.map((input) => input !== null && depends.has(input.name));
    const results = rule(node, cotangents, needs);
    node.inputs.forEach((input, i) => {
      const gradient = results[i];
      if (input && needs[i] && gradient) accumulate(input, gradient);
    });
    for (const output of node.outputs) if (!wanted.has(output.name)) sums.delete(output.name);
  }
  return withRespectTo.map((value) => {
    const gradient = sums.get(value.name);
    if (!gradient) throw new ClipGenError('failed_precondition', `no gradient flows to ${value.name}`);
    return gradient;
  });
}

function one(value: Value): Value {
  const shape = staticShape(value.shape, 'gradients');
  if (shape.some((size) => size !== 1)) {
    throw new ClipGenError('invalid_argument', `a target without cotangent must be a scalar; got ${showShape(shape)}`);
  }
  return expand(value.graph.scalar(1), shape);
}

/** Nodes on a path from `wanted` to the targets, last first, and the values on such paths. */
function between(targets: readonly Value[], wanted: ReadonlySet<string>): { nodes: Node[]; depends: Set<string> } {
  const visited = new Set<Node>();
  const stack: Node[] = targets.flatMap((value) => (value.producer ? [value.producer] : []));
  while (stack.length > 0) {
    const node = stack.pop()!;
    if (visited.has(node)) continue;
    visited.add(node);
    for (const input of node.inputs) if (input?.producer && !visited.has(input.producer)) stack.push(input.producer);
  }
  const depends = new Set(wanted);
  const forward = [...visited].sort((a, b) => a.order - b.order);
  const nodes = forward.filter((node) => {
    if (RULES[node.op] === 'none') return false;
    const reached = node.inputs.some((input) => input !== null && depends.has(input.name));
    if (reached) for (const output of node.outputs) depends.add(output.name);
    return reached;
  });
  return { nodes: nodes.reverse(), depends };
}
