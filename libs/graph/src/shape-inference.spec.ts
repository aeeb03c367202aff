import type { DType, Tensor } from '@clip-gen/tensor';
import { emptyTensor } from '@clip-gen/tensor';
import { runGraph } from '@clip-gen/testing';
import { describe, expect, it } from 'vitest';
import type { Dim, Shape } from './dim.ts';
import { GraphBuilder } from './graph-builder.ts';
import * as ops from './index.ts';
import type { Value } from './value.ts';

type Input = (shape: Shape, dtype?: DType) => Value;
/** Builds an operator; `b` is the batch, a size or a name. */
type Build = (input: Input, b: Dim) => Value | readonly Value[];

const BATCH = 2;

/** What takes a named batch as well as a static one. */
const NAMED: Readonly<Record<string, Build>> = {
  abs: (x, b) => ops.abs(x([b, 3])),
  add: (x, b) => ops.add(x([b, 1, 3]), x([4, 1])),
  argMax: (x, b) => ops.argMax(x([b, 5])),
  argMin: (x, b) => ops.argMin(x([b, 5, 2]), 1),
  biasGelu: (x, b) => ops.biasGelu(x([b, 3]), x([3])),
  cast: (x, b) => ops.cast(x([b, 3]), 'int64'),
  clip: (x, b) => ops.clip(x([b, 3]), -1, 1),
  concat: (x, b) => ops.concat([x([b, 3]), x([b, 2]), x([b, 1])], 1),
  conv: (x, b) => ops.conv(x([b, 3, 7, 5]), x([4, 3, 3, 3]), x([4]), { stride: 2, pads: [0, 0, 1, 1] }),
  convTranspose: (x, b) =>
    ops.convTranspose(x([b, 4, 3, 3]), x([4, 3, 4, 4]), { stride: 2, pads: [1, 1, 1, 1], outputPadding: [1, 0] }),
  cos: (x, b) => ops.cos(x([b, 3])),
  crossEntropy: (x, b) => ops.crossEntropy(x([b, 3]), x([b], 'int64')),
  div: (x, b) => ops.div(x([b, 3]), 2),
  equal: (x, b) => ops.equal(x([b, 3]), x([3])),
  erf: (x, b) => ops.erf(x([b, 3])),
  exp: (x, b) => ops.exp(x([b, 3])),
  fusedMatMul: (x, b) => ops.fusedMatMul(x([b, 2, 4, 3]), x([b, 2, 5, 4]), { transA: true, transB: true, alpha: 0.5 }),
  gather: (x, b) => ops.gather(x([5, 4, 2]), x([b, 3], 'int64')),
  gatherElements: (x, b) => ops.gatherElements(x([b, 4]), x([b, 2], 'int64')),
  gelu: (x, b) => ops.gelu(x([b, 3])),
  gemm: (x, b) => ops.gemm(x([b, 3]), x([5, 3]), x([5]), { transB: true }),
  greater: (x, b) => ops.greater(x([b, 3]), 0),
  groupNormalization: (x, b) => ops.groupNormalization(x([b, 6, 3, 2]), 3, x([6]), x([6])),
  identity: (x, b) => ops.identity(x([b, 3])),
  layerNormalization: (x, b) => ops.layerNormalization(x([b, 3, 5]), x([5]), x([5])),
  leakyRelu: (x, b) => ops.leakyRelu(x([b, 3]), 0.2),
  less: (x, b) => ops.less(x([b, 3]), 0),
  log: (x, b) => ops.log(x([b, 3])),
  logSoftmax: (x, b) => ops.logSoftmax(x([b, 3, 2]), 1),
  matMul: (x, b) => ops.matMul(x([b, 1, 3, 4]), x([2, 4, 5])),
  max: (x, b) => ops.max(x([b, 3]), x([3])),
  min: (x, b) => ops.min(1, x([b, 3])),
  mul: (x, b) => ops.mul(x([b, 3]), x([1])),
  neg: (x, b) => ops.neg(x([b, 3])),
  pad: (x, b) => ops.pad(x([b, 3, 2]), [0, 1, 0], [0, 2, 3]),
  pixelShuffle: (x, b) => ops.pixelShuffle(x([b, 8, 2, 3]), 2),
  pixelUnshuffle: (x, b) => ops.pixelUnshuffle(x([b, 2, 4, 6]), 2),
  pow: (x, b) => ops.pow(x([b, 3]), 2),
  quickGelu: (x, b) => ops.quickGelu(x([b, 3])),
  reduceMean: (x, b) => [ops.reduceMean(x([b, 3, 4]), [1], true), ops.reduceMean(x([b, 3]))],
  reduceSum: (x, b) => [ops.reduceSum(x([b, 3, 4]), [-1, 0]), ops.reduceSum(x([b, 3]), [0, 1], true)],
  relu: (x, b) => ops.relu(x([b, 3])),
  reshape: (x, b) => [
    ops.reshape(x([b, 6]), [b, 2, 3]),
    ops.reshape(x([b, 4, 3]), [typeof b === 'string' ? `${b}*4` : b * 4, 3]),
  ],
  scatterElementsAdd: (x, b) => ops.scatterElementsAdd(x([b, 5]), x([b, 2], 'int64'), x([b, 2])),
  sigmoid: (x, b) => ops.sigmoid(x([b, 3])),
  sign: (x, b) => ops.sign(x([b, 3])),
  silu: (x, b) => ops.silu(x([b, 3])),
  slice: (x, b) => ops.slice(x([b, 7]), 1, 1, 6, 2),
  softmax: (x, b) => ops.softmax(x([b, 3])),
  softplus: (x, b) => ops.softplus(x([b, 3])),
  split: (x, b) => ops.split(x([b, 6]), -1, 3),
  sqrt: (x, b) => ops.sqrt(x([b, 3])),
  stopGradient: (x, b) => ops.stopGradient(x([b, 3])),
  straightThrough: (x, b) => ops.straightThrough(x([b, 3]), x([b, 3])),
  sub: (x, b) => ops.sub(1, x([b, 3])),
  tanh: (x, b) => ops.tanh(x([b, 3])),
  transpose: (x, b) => ops.transpose(x([b, 3, 4]), [2, 0, 1]),
  upsampleNearest: (x, b) => ops.upsampleNearest(x([b, 3, 2, 4]), 2),
  upsampledConv: (x, b) => ops.upsampledConv(x([b, 3, 2, 4]), x([5, 3, 3, 3]), x([5])),
  where: (x, b) => ops.where(x([b, 1], 'bool'), x([3]), 0),
};

/** What needs static shapes. */
const STATIC: Readonly<Record<string, Build>> = {
  batchNormalization: (x) => ops.batchNormalization(x([2, 3, 4, 5]), x([3]), x([3])),
  expand: (x) => ops.expand(x([3, 1]), [2, 3, 4]),
  turnKernel: (x) => [ops.turnKernel(x([4, 3, 2, 5])), ops.turnKernel(x([4, 3, 1, 1]))],
};

/** Exports that build no node of their own, or are run elsewhere. */
const NO_OPERATOR = new Set([
  ...[
    'GraphBuilder',
    'encodeModel',
    'encodePrepared',
    'encodeSegments',
    'usedParameters',
    'COMPOSITE_OPS',
    'CONTRIB_OPS',
    'ONNX_OPS',
    'reducedCount',
  ],
  ...['float', 'floatAttribute', 'int', 'intAttribute', 'ints', 'intsAttribute', 'string'],
  ...['broadcastShapes', 'normalizeAxis', 'sameShape', 'showShape', 'staticDim', 'staticShape', 'staticSize'],
  'groupQueryAttention', // run by the specs of @clip-gen/gpt
  'phaseKernels', // several kernels, run by upsampledConv
  ...['linearWeights', 'matMulNBits'], // run by those of @clip-gen/quantization, with constant weights
]);

function sized(shape: Shape, batch: number): number[] {
  return shape.map((dim) =>
    String(dim)
      .split('*')
      .reduce((product, part) => product * (part === 'B' ? batch : Number(part)), 1),
  );
}

async function check(build: Build, b: Dim): Promise<void> {
  const graph = new GraphBuilder('shapes');
  const feeds: Record<string, Tensor> = {};
  const built = build((shape, dtype = 'float32') => {
    const name = `in.${graph.inputs.length}`;
    const data = emptyTensor(dtype, sized(shape, BATCH));
    if (data.data instanceof Float32Array) data.data.fill(0.5);
    feeds[name] = data;
    return graph.input(name, dtype, shape);
  }, b);
  const values = 'graph' in built ? [built] : built;
  values.forEach((value, i) => graph.output(`out.${i}`, value));
  const results = await runGraph(graph, feeds);
  values.forEach((value, i) => {
    expect(results[`out.${i}`]!.shape, value.name).toEqual(sized(value.shape, BATCH));
    expect(results[`out.${i}`]!.dtype, value.name).toBe(value.dtype);
  });
}

describe('the declared shape and dtype are what ONNX Runtime returns', () => {
  it.each(Object.entries({ ...NAMED, ...STATIC }))('%s', (_name, build) => check(build, BATCH));
  it.each(Object.entries(NAMED))('%s with a named batch', (_name, build) => check(build, 'B'));

  it('of every operator that is exported', () => {
    const built = [...Object.keys(NAMED), ...Object.keys(STATIC)];
    expect(Object.keys(ops).filter((name) => !NO_OPERATOR.has(name) && !built.includes(name))).toEqual([]);
  });
});
