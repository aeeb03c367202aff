import { ModelProto } from '@clip-gen/onnx-proto';
import { describe, expect, it } from 'vitest';
import { add, encodeModel, gather, gemm, GraphBuilder, linearWeights, matMulNBits, relu } from './index.ts';
import type { QuantizedLocation } from './model-proto.ts';

/** Rows of 5, columns of 40: two blocks of 32 in 4 bits. */
const LOCATION: QuantizedLocation = {
  bits: 4,
  blockSize: 32,
  packed: { file: 'w', byteOffset: 64, byteLength: 5 * 2 * 16 },
  scales: { file: 'w', byteOffset: 256, byteLength: 5 * 2 * 4 },
};

function linearGraph() {
  const graph = new GraphBuilder('g');
  const weight = graph.parameter('weight', [5, 40]);
  const bias = graph.parameter('bias', [5]);
  return { graph, x: graph.input('x', 'float32', ['B', 40]), weight, bias };
}
const parameters = (name: string) => (name === 'bias' ? { file: 'w', byteOffset: 0, byteLength: 20 } : { ...LOCATION });

describe('a quantised parameter', () => {
  it('turns the product with it into MatMulNBits over its integers and scales', () => {
    const { graph, x, weight, bias } = linearGraph();
    graph.output('y', relu(gemm(x, weight, bias, { transB: true })));
    const { node, initializer } = ModelProto.decode(encodeModel(graph, { parameters })).graph!;
    expect(node.map(({ opType, domain }) => [opType, domain])).toEqual([
      ['MatMulNBits', 'com.microsoft'],
      ['Relu', ''],
    ]);
    expect(node[0]!.input).toEqual(['x', 'weight.packed', 'weight.scales', '', '', 'bias']);
    const attributes = Object.fromEntries(node[0]!.attribute.map(({ name, i }) => [name, Number(i)]));
    expect(attributes).toEqual({ K: 40, N: 5, bits: 4, block_size: 32, accuracy_level: 4 });
    expect(initializer.map(({ name, dims, dataType }) => [name, dims.map(Number), dataType])).toEqual([
      ['weight.packed', [5, 2, 16], 2],
      ['weight.scales', [5, 2], 1],
      ['bias', [5], 1],
    ]);
    expect(graph.nodes.map(({ op }) => op)).toEqual(['Gemm', 'Relu']); // the graph stays as it is
  });

  it('must have the bytes of its blocks', () => {
    const { graph, x, weight } = linearGraph();
    graph.output('y', gemm(x, weight, null, { transB: true }));
    const short = { ...LOCATION, packed: { ...LOCATION.packed, byteLength: 159 } };
    expect(() => encodeModel(graph, { parameters: () => short })).toThrow(
      'parameter weight.packed [5, 2, 16] takes 160 bytes; w has 159',
    );
  });

  it.each<[string, (g: ReturnType<typeof linearGraph>) => void]>([
    ['Gemm', ({ graph, x, weight }) => graph.output('y', gemm(weight, x, null, { transB: true }))],
    ['Gemm', ({ graph, x, weight }) => graph.output('y', gemm(x, weight, null, { transB: true, alpha: 2 }))],
    ['Add', ({ graph, x, weight }) => graph.output('y', add(x, gather(weight, graph.int64([1]))))],
    [
      'Gather',
      ({ graph, x, weight }) => {
        graph.output('y', gemm(x, weight, null, { transB: true }));
        graph.output('z', gather(weight, graph.int64([1])));
      },
    ],
  ])('can be read by a linear layer alone (%s %#)', (op, build) => {
    const parts = linearGraph();
    build(parts);
    const reader = op === 'Add' ? 'Gather' : op;
    expect(() => encodeModel(parts.graph, { parameters })).toThrow(`${reader} reads it; quantise the model anew`);
  });
});

it('linearWeights names the matrices of linear layers that nothing else reads', () => {
  const graph = new GraphBuilder('g');
  const x = graph.input('x', 'float32', ['B', 40]);
  const [a, tied] = [graph.parameter('a', [40, 40]), graph.parameter('tied', [7, 40])];
  graph.parameter('unused', [3, 40]);
  const y = gemm(x, a, graph.parameter('bias', [40]), { transB: true });
  graph.output('y', gemm(add(y, gather(tied, graph.int64([2]))), tied, null, { transB: true }));
  expect(linearWeights(graph)).toEqual(['a']);
});

describe('matMulNBits', () => {
  const graph = new GraphBuilder('g');
  const a = graph.input('a', 'float32', ['B', 40]);
  const packed = graph.input('packed', 'uint8', [5, 2, 16]);
  const scales = graph.input('scales', 'float32', [5, 2]);
  const bias = graph.input('bias', 'float32', [5]);

  it('has the shape of the product', () => {
    expect(matMulNBits(a, packed, scales, bias, { columns: 40, bits: 4 }).shape).toEqual(['B', 5]);
  });

  it.each<[RegExp, () => unknown]>([
    [
      /a must have shape \[B, 41\]; got \[B, 40\]/,
      () => matMulNBits(a, packed, scales, null, { columns: 41, bits: 4 }),
    ],
    [
      /columns must be those of 2 blocks of 32; got 65/,
      () => matMulNBits(a, packed, scales, null, { columns: 65, bits: 4 }),
    ],
    [
      /columns must be those of 2 blocks of 16; got 40/,
      () => matMulNBits(a, packed, scales, null, { columns: 40, bits: 8 }),
    ],
    [
      /scales must have shape \[5\]; got \[5, 2\]/,
      () => matMulNBits(a, packed, scales, scales, { columns: 40, bits: 4 }),
    ],
    [/bias must be uint8; got float32/, () => matMulNBits(a, bias, scales, null, { columns: 40, bits: 4 })],
  ])('refuses what does not fit (%s)', (message, build) => {
    expect(build).toThrow(message);
  });
});
