import { ClipGenError } from '@clip-gen/errors';
import { floatAttribute, int, intAttribute } from './attribute.ts';
import { showShape, staticShape } from './dim.ts';
import type { GraphBuilder } from './graph-builder.ts';
import type { Node, Value } from './value.ts';

/** How a matrix is stored as small integers in blocks of its rows, for `com.microsoft.MatMulNBits`. */
export interface BlockFormat {
  readonly bits: 4 | 8;
  /** Weights of a row that share a scale: a power of two from 16 on. */
  readonly blockSize: number;
}

/** The two tensors that stand for a quantised matrix. */
export interface QuantizedMatrix {
  /** uint8 (N, blocks, bytes of a block) */
  readonly packed: Value;
  /** float32 (N, blocks) */
  readonly scales: Value;
}

/** The tensors of a weight (N, K) in blocks. @throws invalid_argument when it is no matrix */
export function quantizedMatrix(weight: Value, { bits, blockSize }: BlockFormat): QuantizedMatrix {
  const shape = staticShape(weight.shape, weight.name);
  if (shape.length !== 2) {
    const message = `${weight.name} must be a matrix to be stored in blocks; got ${showShape(shape)}`;
    throw new ClipGenError('invalid_argument', message);
  }
  const [rows, columns] = shape as [number, number];
  const blocks = Math.ceil(columns / blockSize);
  const { graph, name } = weight;
  return {
    packed: { graph, name: `${name}.packed`, dtype: 'uint8', shape: [rows, blocks, (blockSize * bits) / 8] },
    scales: { graph, name: `${name}.scales`, dtype: 'float32', shape: [rows, blocks] },
  };
}

/**
 * Replaces every product x · Wᵀ + b with a quantised W by `com.microsoft.MatMulNBits` of the same result, activations
 * rounded to 8 bits (accuracy level 4). A model's text does not know how its weights are stored.
 *
 * @param nodes in topological order, composites lowered; they stay as they are
 * @param formats of the quantised parameters, by name
 * @throws failed_precondition for a quantised parameter that anything else reads, a table or a kernel for instance
 */
export function multiplyQuantized(nodes: readonly Node[], formats: ReadonlyMap<string, BlockFormat>): readonly Node[] {
  if (formats.size === 0) return nodes;
  return nodes.map((node) => {
    const weight = node.inputs.find((input) => input !== null && !input.producer && formats.has(input.name));
    if (!weight) return node;
    const [a, , bias] = node.inputs;
    if (!isProductWith(node, weight) || (bias && formats.has(bias.name))) {
      const message = `${weight.name} is stored in blocks, which only the matrices of linear layers can be; ${node.op} reads it`;
      throw new ClipGenError('failed_precondition', `${message}; quantise the model anew`);
    }
    const { bits, blockSize } = formats.get(weight.name)!;
    const { packed, scales } = quantizedMatrix(weight, { bits, blockSize });
    const [rows, columns] = weight.shape as [number, number];
    return {
      ...node,
      op: 'MatMulNBits',
      inputs: [a!, packed, scales, ...(bias ? [null, null, bias] : [])],
      attributes: {
        K: int(columns),
        N: int(rows),
        bits: int(bits),
        block_size: int(blockSize),
        accuracy_level: int(4),
      },
    };
  });
}

/** Names of the parameters that a graph reads as the matrix of a linear layer and as nothing else, in its order. */
export function linearWeights(graph: GraphBuilder): string[] {
  const products = new Set<string>();
  const others = new Set<string>();
  const visit = (nodes: readonly Node[]): void => {
    for (const node of nodes) {
      if (node.lowered) visit(node.lowered);
      else for (const input of node.inputs) if (input) (isProductWith(node, input) ? products : others).add(input.name);
    }
  };
  visit(graph.nodes);
  return graph.parameters.map(({ name }) => name).filter((name) => products.has(name) && !others.has(name));
}

/** Whether a node is x · Wᵀ + b with this W, and reads it nowhere else. */
function isProductWith({ op, inputs, attributes }: Node, weight: Value): boolean {
  const [a, matrix, bias] = inputs;
  return (
    op === 'Gemm' &&
    matrix?.name === weight.name &&
    a?.name !== weight.name &&
    (!bias || (bias.name !== weight.name && bias.shape.length === 1)) &&
    intAttribute(attributes, 'transA', 0) === 0 &&
    intAttribute(attributes, 'transB', 0) === 1 &&
    floatAttribute(attributes, 'alpha', 1) === 1 &&
    floatAttribute(attributes, 'beta', 1) === 1
  );
}
