import { ClipGenError } from '@clip-gen/errors';
import { tensor } from '@clip-gen/tensor';
import { describe, expect, it } from 'vitest';
import { GraphBuilder } from './graph-builder.ts';
import * as ops from './index.ts';
import type { Value } from './value.ts';

/** A graph with an input for each shape. */
function inputs(...shapes: (readonly (number | string)[])[]): Value[] {
  const graph = new GraphBuilder('g');
  return shapes.map((shape, i) => graph.input('abcdef'[i]!, 'float32', shape));
}

const MISTAKES: readonly (readonly [string, () => unknown])[] = [
  ['Add: shapes [2, 3] and [4] do not broadcast', () => ops.add(...pair([2, 3], [4]))],
  ['Add: shapes [B, 3] and [2, 3] do not broadcast', () => ops.add(...pair(['B', 3], [2, 3]))],
  ['Mul: dtypes must agree; got float32 and int64', () => ops.mul(inputs([2])[0]!, ids())],
  ['Where: a must be bool; got float32', () => ops.where(inputs([2])[0]!, ...pair([2], [2]))],
  ['Clip: low must be <= high; got 2 and 1', () => ops.clip(inputs([2])[0]!, 2, 1)],
  ['MatMul: inner dimensions must agree; got [2, 3] and [4, 5]', () => ops.matMul(...pair([2, 3], [4, 5]))],
  [
    'FusedMatMul: inner dimensions must agree; got [2, 3]ᵀ and [3, 5]',
    () => ops.fusedMatMul(...pair([2, 3], [3, 5]), { transA: true }),
  ],
  ['MatMul needs 2 dimensions or more; got [3] and [3, 5]', () => ops.matMul(...pair([3], [3, 5]))],
  ['Gemm: a must have 2 dimensions; got shape [2, 3, 4]', () => ops.gemm(...pair([2, 3, 4], [4, 5]))],
  ['Gather: b must be int32 or int64; got float32', () => ops.gather(...pair([2, 3], [4]))],
  [
    'GatherElements: i must have 2 dimensions; got shape [4]',
    () => ops.gatherElements(ops.reshape(ids().graph.input('x', 'float32', [4]), [2, 2]), ids([4])),
  ],
  ['Conv: dimension 1 of [1, 3, 8, 8] must equal dimension 1 of [4, 2, 3, 3]', () => convolve([4, 2, 3, 3])],
  ['Conv: kernel [9, 9] is larger than padded [1, 3, 8, 8]', () => convolve([4, 3, 9, 9])],
  ['Conv: stride must be an integer >= 1; got 0', () => convolve([4, 3, 3, 3], { stride: 0 })],
  [
    'GroupNormalization: groups must divide 6 channels; got 4',
    () => {
      const [x, scale, bias] = inputs([1, 6, 2, 2], [6], [6]) as [Value, Value, Value];
      return ops.groupNormalization(x, 4, scale, bias);
    },
  ],
  [
    'LayerNormalization: scale and bias must have shape [4]; got [3]',
    () => {
      const [x, scale, bias] = inputs([2, 4], [3], [4]) as [Value, Value, Value];
      return ops.layerNormalization(x, scale, bias);
    },
  ],
  ['Softmax: axis must be in [-2, 2); got 2', () => ops.softmax(inputs([2, 3])[0]!, 2)],
  ['ReduceSum: axis must be in [-2, 2); got -3', () => ops.reduceSum(inputs([2, 3])[0]!, [-3])],
  ['Reshape: [2, 3] does not hold [4, 2]', () => ops.reshape(inputs([2, 3])[0]!, [4, 2])],
  ['Reshape: [B, 6] does not hold [B, 2, 4]', () => ops.reshape(inputs(['B', 6])[0]!, ['B', 2, 4])],
  [
    'Reshape: only one named dimension may move in [3, B, T]',
    () => ops.reshape(inputs(['B', 'T', 3])[0]!, [3, 'B', 'T']),
  ],
  ['Transpose: [0, 0] does not permute [2, 3]', () => ops.transpose(inputs([2, 3])[0]!, [0, 0])],
  ['Concat: [2, 4] does not join [3, 4] along 1', () => ops.concat(pair([3, 4], [2, 4]), 1)],
  ['Slice: [3, 3) by 1 of axis 1 selects nothing of [2, 6]', () => ops.slice(inputs([2, 6])[0]!, 1, 3, 3)],
  ['Split: parts must divide 6; got 4', () => ops.split(inputs([2, 6])[0]!, 1, 4)],
  ['Pad: needs 2 begins and ends; got 1 and 2', () => ops.pad(inputs([2, 6])[0]!, [1], [0, 0])],
  ['DepthToSpace: channels must be a multiple of 4; got 6', () => ops.pixelShuffle(inputs([1, 6, 2, 2])[0]!, 2)],
  ['PixelUnshuffle: 2 must divide 3 × 4', () => ops.pixelUnshuffle(inputs([1, 6, 3, 4])[0]!, 2)],
  [
    'CrossEntropy: one label a row; got [4] for [3, 5]',
    () => {
      const labels = ids([4]);
      return ops.crossEntropy(labels.graph.input('x', 'float32', [3, 5]), labels);
    },
  ],
];

function pair(a: readonly (number | string)[], b: readonly (number | string)[]): [Value, Value] {
  return inputs(a, b) as [Value, Value];
}

function ids(shape: readonly number[] = [2]): Value {
  return new GraphBuilder('g').input('i', 'int64', shape);
}

function convolve(weight: readonly number[], options: ops.ConvOptions = {}): Value {
  const [x, w] = pair([1, 3, 8, 8], weight);
  return ops.conv(x, w, null, options);
}

describe('a mistake', () => {
  it.each(MISTAKES)('%s', (message, make) => {
    expect(make).toThrow(ClipGenError);
    expect(make).toThrow(expect.objectContaining({ code: 'invalid_argument', message }));
  });

  it('throws at the line that made the node', () => {
    const [a, b] = pair([2, 3], [4]);
    let stack = '';
    try {
      ops.add(a, b);
    } catch (error) {
      stack = (error as Error).stack ?? '';
    }
    expect(stack).toContain('graph-builder.spec.ts');
  });
});

describe('names', () => {
  it('are taken once among inputs, parameters and outputs', () => {
    const graph = new GraphBuilder('g');
    const x = graph.input('x', 'float32', [2]);
    const taken = (name: string) => `the name ${name} is taken in g`;
    expect(() => graph.input('x', 'float32', [2])).toThrow(taken('x'));
    expect(() => graph.parameter('x', [2])).toThrow(taken('x'));
    expect(() => graph.output('x', x)).toThrow(taken('x'));
    graph.output('y', x);
    expect(() => graph.output('y', x)).toThrow('output y is defined twice');
    expect(() => graph.input('y', 'float32', [2])).toThrow(taken('y'));
  });

  it('give the same parameter twice, with the same shape only', () => {
    const graph = new GraphBuilder('g');
    expect(graph.parameter('w', [2, 3])).toBe(graph.parameter('w', [2, 3]));
    expect(graph.parameters).toHaveLength(1);
    expect(() => graph.parameter('w', [3, 2])).toThrow('parameter w has shape [2, 3]; asked for [3, 2]');
  });
});

describe('values', () => {
  it('stay in their graph', () => {
    const x = new GraphBuilder('one').input('x', 'float32', [2]);
    const other = new GraphBuilder('two');
    expect(() => ops.add(x, other.input('y', 'float32', [2]))).toThrow('Add: input y belongs to another graph');
    expect(() => other.output('z', x)).toThrow('output z belongs to another graph');
  });

  it('have whole, non-negative sizes', () => {
    const graph = new GraphBuilder('g');
    expect(() => graph.input('x', 'float32', [2.5])).toThrow('x: shape [2.5] holds a bad dimension');
    expect(() => graph.parameter('w', [-1])).toThrow('w: shape [-1] holds a bad dimension');
  });

  it('that are equal small constants are shared; large ones are not compared', () => {
    const graph = new GraphBuilder('g');
    expect(graph.scalar(1.5)).toBe(graph.scalar(1.5));
    expect(graph.scalar(1, 'int64')).not.toBe(graph.scalar(1, 'int32'));
    expect(graph.int64([1, 2])).not.toBe(graph.constant(tensor('int64', [1, 2], BigInt64Array.of(1n, 2n))));
    const large = () => graph.constant(tensor('float32', [17], new Float32Array(17)));
    expect(large()).not.toBe(large());
  });
});
