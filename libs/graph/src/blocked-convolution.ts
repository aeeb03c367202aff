import { tensor, type Tensor } from '@clip-gen/tensor';
import { int, ints, intsAttribute, type Attributes } from './attribute.ts';
import type { Shape } from './dim.ts';
import type { GraphBuilder } from './graph-builder.ts';
import type { OpType } from './op-type.ts';
import type { Node, Value } from './value.ts';

/** Sizes of a convolution that the blocked kernel takes. */
interface Sizes {
  readonly inputs: number;
  readonly outputs: number;
  readonly kernel: readonly [number, number];
}

/** Nodes in blocked form, and the constants that they need beside the graph's own. */
export interface BlockedNodes {
  readonly nodes: readonly Node[];
  readonly constants: readonly { readonly value: Value; readonly data: Tensor }[];
}

/**
 * Replaces every Conv whose channels fit by ONNX Runtime's blocked convolution (`com.microsoft.nchwc`), which needs
 * activations as (B, C/block, H, W, block) and weights as (O/block, I/block, kH, kW, block, block). ONNX Runtime does
 * this itself for constant weights; here the weights are inputs and are laid out again in each run. A convolution takes
 * the blocked form of its input where another one has made it. The graph stays as it is.
 *
 * @param nodes in topological order, composites lowered
 * @param block channels of a block, 8 or 16: a property of the CPU
 */
export function blockConvolutions(graph: GraphBuilder, nodes: readonly Node[], block: number): BlockedNodes {
  const result: Node[] = [];
  const constants = new Map<string, { value: Value; data: Tensor }>(); // by dtype and shape or contents: shared
  const blocked = new Map<string, Value>(); // by the name of the plain value
  const emit = (op: OpType, inputs: Node['inputs'], attributes: Attributes, name: string, shape: Shape): Value => {
    const output: Value = { graph, name, dtype: 'float32', shape };
    result.push({ op, inputs, outputs: [output], attributes, order: result.length });
    return output;
  };
  const constant = (key: string, data: Tensor): Value => {
    const known = constants.get(key);
    if (known) return known.value;
    const value: Value = { graph, name: `blocked.${key}`, dtype: data.dtype, shape: data.shape };
    constants.set(key, { value, data });
    return value;
  };
  const int64 = (values: readonly number[]): Value =>
    constant(`shape.${values.join('x')}`, tensor('int64', [values.length], BigInt64Array.from(values, BigInt)));
  const zerosOf = (shape: readonly number[]): Value => {
    const length = shape.reduce((a, b) => a * b, 1);
    return constant(`zeros.${shape.join('x')}`, tensor('float32', shape, new Float32Array(length)));
  };
  const blockedInput = (x: Value): Value => {
    const known = blocked.get(x.name);
    if (known) return known;
    const made = emit('ReorderInput', [x], {}, `${x.name}.blocked`, x.shape);
    blocked.set(x.name, made);
    return made;
  };
  const zerosAfter = (value: Value, name: string, count: number): Value => {
    const shape = [count, ...(value.shape.slice(1) as number[])];
    return emit('Concat', [value, zerosOf(shape)], { axis: int(0) }, name, [
      (value.shape[0] as number) + count,
      ...shape.slice(1),
    ]);
  };
  const permuted = (x: Value, split: number[], permutation: readonly number[], name: string): Value => {
    const open = emit('Reshape', [x, int64(split)], {}, `${name}.split`, split);
    const shape = permutation.map((axis) => split[axis]!);
    return emit('Transpose', [open], { perm: ints(permutation) }, name, shape);
  };
  const blockedWeight = (weight: Value, name: string, { inputs, kernel }: Sizes, outputs: number): Value => {
    const taps = kernel[0] * kernel[1];
    const [o, i] = [outputs / block, inputs / block];
    const turned = weight.producer?.op === 'TurnedKernel' ? weight.producer.outputs[1]! : null; // (I, taps, O)
    const narrow = inputs < block; // the kernel that reads unblocked activations
    const laid = narrow
      ? permuted(weight, [o, block, inputs, taps], [0, 2, 3, 1], `${name}.laid`)
      : turned
        ? permuted(turned, [i, block, taps, o, block], [3, 0, 2, 1, 4], `${name}.laid`)
        : permuted(weight, [o, block, i, block, taps], [0, 2, 4, 3, 1], `${name}.laid`);
    const shape = [outputs, inputs, ...kernel];
    return emit('Reshape', [laid, int64(shape)], {}, name, shape);
  };

  for (const node of nodes) {
    const sizes = node.op === 'Conv' ? fittingSizes(node, block) : null;
    if (!sizes) {
      result.push(node);
      continue;
    }
    const [x, plainWeight, plainBias] = [node.inputs[0]!, node.inputs[1]!, node.inputs[2] ?? null];
    const output = node.outputs[0]!;
    const name = `${output.name}.blocked`;
    const rest = (block - (sizes.outputs % block)) % block; // output channels that are computed and dropped
    const outputs = sizes.outputs + rest;
    const wide = rest === 0 ? plainWeight : zerosAfter(plainWeight, `${name}.weight.wide`, rest);
    const weight = blockedWeight(wide, `${name}.weight`, sizes, outputs);
    const bias = plainBias && rest > 0 ? zerosAfter(plainBias, `${name}.bias`, rest) : plainBias;
    const input = sizes.inputs < block ? x : blockedInput(x);
    const shape = [output.shape[0]!, outputs, ...output.shape.slice(2)];
    const inputs = bias ? [input, weight, bias] : [input, weight];
    const made = emit('NchwcConv', inputs, node.attributes, name, shape);
    if (rest === 0) blocked.set(output.name, made);
    emit('ReorderOutput', [made], { channels: int(sizes.outputs) }, output.name, output.shape);
  }
  return { nodes: live(result, graph), constants: [...constants.values()] };
}

/**
 * Input channels must fill blocks, or be fewer than one block (a kernel of its own reads them unblocked). Output
 * channels that miss a whole block are worth their zeros when they are at least half of what is computed.
 */
function fittingSizes(node: Node, block: number): Sizes | null {
  const [outputs, inputs, height, width] = node.inputs[1]!.shape;
  const numbers = [outputs, inputs, height, width].every((size) => typeof size === 'number');
  if (!numbers || intsAttribute(node.attributes, 'dilations', [1, 1]).some((d) => d !== 1)) return null;
  const sizes: Sizes = {
    inputs: inputs as number,
    outputs: outputs as number,
    kernel: [height as number, width as number],
  };
  const blocks = Math.ceil(sizes.outputs / block);
  const fits = sizes.inputs % block === 0 || sizes.inputs < block;
  return fits && sizes.outputs * 2 >= blocks * block ? sizes : null;
}

/** The nodes that the graph's outputs need. */
function live(nodes: readonly Node[], graph: GraphBuilder): Node[] {
  const wanted = new Set(graph.outputs.map((output) => output.value.name));
  const kept = nodes.toReversed().filter((node) => {
    if (!node.outputs.some((output) => wanted.has(output.name))) return false;
    for (const input of node.inputs) if (input) wanted.add(input.name);
    return true;
  });
  return kept.reverse();
}
