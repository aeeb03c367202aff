import { ClipGenError } from '@clip-gen/errors';
import { bytesPerElement } from '@clip-gen/tensor';
import { staticSize } from './dim.ts';
import type { GraphBuilder } from './graph-builder.ts';
import { encodeNodes, type ModelOptions } from './model-proto.ts';
import { reachable } from './reachable.ts';
import type { Node, Value } from './value.ts';

/** A model without inputs: what it computes depends on parameters and constants alone. */
export interface Preparation {
  readonly model: Uint8Array;
  /** Its outputs, under the names that they have as inputs of the prepared model. */
  readonly forms: readonly string[];
}

/** A graph whose weights are brought into the forms that it computes with beforehand, once for all its runs. */
export interface PreparedModel {
  /** They do not depend on one another; each makes about as many bytes as was asked for. */
  readonly preparations: readonly Preparation[];
  /** The rest. Its inputs are those of the graph and all forms. */
  readonly model: Uint8Array;
}

/** How a graph is prepared. */
export interface PreparedOptions extends Required<Pick<ModelOptions, 'parameters'>> {
  /** Of the forms that one preparation makes, so that little else is in memory beside them; a larger form is alone. */
  readonly bytes?: number;
}

const BYTES = 32 << 20;

/**
 * Cuts off what depends on parameters and constants alone, such as weights that are laid out anew. ONNX Runtime would
 * fold it when it loads the model, and keep copies; as inputs its results are the caller's, once in memory.
 *
 * @throws invalid_argument for a graph without outputs
 */
export function encodePrepared(
  graph: GraphBuilder,
  { parameters, bytes: most = BYTES }: PreparedOptions,
): PreparedModel {
  if (graph.outputs.length === 0) {
    throw new ClipGenError('invalid_argument', `graph ${graph.name} must have an output; got none`);
  }
  const { nodes } = reachable(graph);
  const live = new Set(graph.inputs.map(({ name }) => name)); // values that a run can change, and outputs
  const outputs = new Set(graph.outputs.map(({ value }) => value.name));
  const [fixed, rest]: [Node[], Node[]] = [[], []];
  for (const node of nodes) {
    const changes =
      node.inputs.some((input) => input && live.has(input.name)) || node.outputs.some(({ name }) => outputs.has(name));
    (changes ? rest : fixed).push(node);
    if (changes) for (const { name } of node.outputs) live.add(name);
  }
  const made = new Set(fixed.flatMap((node) => node.outputs.map(({ name }) => name)));
  const forms = new Map<string, Value>();
  for (const { inputs } of rest)
    for (const input of inputs) if (input && made.has(input.name)) forms.set(input.name, input);

  const preparations = groupsOf([...forms.values()], most).map((group, i): Preparation => {
    const chosen = group.map((value) => ({ name: value.name, value }));
    const name = `${graph.name}.weights.${i}`;
    const makers = neededFor(group, fixed);
    const model = encodeNodes(graph, { name, nodes: makers, inputs: [], outputs: chosen }, { parameters });
    return { model, forms: group.map(({ name }) => name) };
  });
  const inputs = [...graph.inputs, ...forms.values()];
  const { name, outputs: wanted } = graph;
  return { preparations, model: encodeNodes(graph, { name, nodes: rest, inputs, outputs: wanted }, { parameters }) };
}

/** In their order, each group of at most `most` bytes. */
function groupsOf(values: readonly Value[], most: number): readonly (readonly Value[])[] {
  const groups: Value[][] = [];
  let left = 0;
  for (const value of values) {
    const bytes = bytesOf(value);
    if (groups.length === 0 || bytes > left) {
      groups.push([]);
      left = most;
    }
    groups.at(-1)!.push(value);
    left -= bytes;
  }
  return groups;
}

const bytesOf = ({ name, dtype, shape }: Value): number => bytesPerElement(dtype) * staticSize(shape, name);

/** The nodes that make the values, in order. */
function neededFor(values: readonly Value[], nodes: readonly Node[]): readonly Node[] {
  const wanted = new Set(values.map(({ name }) => name));
  const needed: Node[] = [];
  for (let i = nodes.length - 1; i >= 0; i--) {
    const node = nodes[i]!;
    if (!node.outputs.some(({ name }) => wanted.has(name))) continue;
    needed.push(node);
    for (const input of node.inputs) if (input) wanted.add(input.name);
  }
  return needed.reverse();
}
