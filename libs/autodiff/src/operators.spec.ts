import {
  abs,
  add,
  batchNormalization,
  cast,
  clip,
  concat,
  conv,
  crossEntropy,
  div,
  encodeModel,
  erf,
  exp,
  expand,
  fusedMatMul,
  gather,
  gatherElements,
  gelu,
  gemm,
  GraphBuilder,
  groupNormalization,
  identity,
  layerNormalization,
  leakyRelu,
  log,
  logSoftmax,
  matMul,
  max,
  min,
  mul,
  neg,
  pad,
  pixelShuffle,
  pixelUnshuffle,
  pow,
  quickGelu,
  reduceMean,
  reduceSum,
  relu,
  reshape,
  sigmoid,
  silu,
  slice,
  softmax,
  softplus,
  split,
  sqrt,
  straightThrough,
  sub,
  tanh,
  transpose,
  upsampleNearest,
  where,
  type OpType,
  type Value,
} from '@clip-gen/graph';
import { createSession } from '@clip-gen/runtime';
import type { Tensor } from '@clip-gen/tensor';
import { expectTensor, loadGoldens } from '@clip-gen/testing';
import { describe, expect, it } from 'vitest';
import { gradients } from './gradients.ts';
import { RULES } from './rules.ts';

const goldens = await loadGoldens(new URL('../goldens/ops.safetensors', import.meta.url));

// float32 against float64 on tensors of at most 200 elements, relative to the largest one.
const VALUES = { relative: 2e-6, scale: 'max' } as const;
const GRADIENTS = { relative: 5e-6, scale: 'max' } as const;
// Central differences: the step's square and float32 rounding over the step, of the gradient's sum of magnitudes.
const STEP = 2 ** -7;
const DIFFERENCES = 2e-3;

interface Case {
  readonly name: string;
  readonly op: string;
  readonly attrs: Readonly<Record<string, unknown>>;
  readonly inputs: number;
  readonly outputs: number;
  readonly differentiable: readonly number[];
}

/** A case's inputs, its attributes and the shape of its first result. */
type Build = (inputs: readonly Value[], attrs: Attrs, shape: readonly number[]) => Value | readonly Value[];

class Attrs {
  constructor(readonly values: Readonly<Record<string, unknown>>) {}
  number(name: string, byDefault?: number): number {
    return (this.values[name] ?? byDefault) as number;
  }
  numbers(name: string): number[] {
    return this.values[name] as number[];
  }
}

const unary =
  (f: (x: Value) => Value): Build =>
  ([x]) =>
    f(x!);
const binary =
  (f: (a: Value, b: Value) => Value): Build =>
  ([a, b]) =>
    f(a!, b!);

const BUILD: Readonly<Record<string, Build>> = {
  Abs: unary(abs),
  Add: binary(add),
  BatchNormalization: ([x, scale, bias], a) => batchNormalization(x!, scale!, bias!, a.number('epsilon'))[0]!,
  Cast: ([x]) => cast(cast(x!, 'float64'), 'float32'),
  Clip: ([x], a) => clip(x!, a.number('min'), a.number('max', Infinity)),
  Concat: (parts, a) => concat(parts, a.number('axis')),
  Conv: ([x, weight, bias], a) => {
    const pads = a.numbers('pads') as [number, number, number, number];
    return conv(x!, weight!, bias ?? null, { stride: a.numbers('strides')[0]!, pads });
  },
  DepthToSpace: ([x], a) => pixelShuffle(x!, a.number('blocksize')),
  Div: binary(div),
  Erf: unary(erf),
  Exp: unary(exp),
  Expand: ([x], a) => expand(x!, a.numbers('shape')),
  FusedMatMul: ([a, b], { values }) =>
    fusedMatMul(a!, b!, { ...values, transA: values['transA'] === 1, transB: values['transB'] === 1 }),
  Gather: binary(gather),
  GatherElements: ([x, indices], a) => gatherElements(x!, indices!, a.number('axis')),
  Gelu: unary(gelu),
  Gemm: ([a, b, c], { values }) =>
    gemm(a!, b!, c ?? null, { ...values, transA: values['transA'] === 1, transB: values['transB'] === 1 }),
  GroupNormalization: ([x, scale, bias], a) =>
    groupNormalization(x!, a.number('num_groups'), scale!, bias!, a.number('epsilon')),
  Identity: unary(identity),
  LayerNormalization: ([x, scale, bias], a) => layerNormalization(x!, scale!, bias!, a.number('epsilon')),
  LeakyRelu: ([x], a) => leakyRelu(x!, a.number('alpha')),
  Log: unary(log),
  LogSoftmax: ([x], a) => logSoftmax(x!, a.number('axis')),
  LpNormalization: ([x], a) => div(x!, sqrt(reduceSum(mul(x!, x!), [a.number('axis')], true))),
  MatMul: binary(matMul),
  Max: binary(max),
  Min: binary(min),
  Mul: binary(mul),
  Neg: unary(neg),
  Pad: ([x], a) => pad(x!, a.numbers('pads').slice(0, x!.shape.length), a.numbers('pads').slice(x!.shape.length)),
  PixelUnshuffle: ([x], a) => pixelUnshuffle(x!, a.number('blocksize')),
  Pow: binary(pow),
  QuickGelu: ([x], a) => quickGelu(x!, a.number('alpha')),
  ReduceMean: ([x], a) => reduceMean(x!, a.numbers('axes'), a.number('keepdims') === 1),
  ReduceSum: ([x], a) => reduceSum(x!, a.numbers('axes'), a.number('keepdims') === 1),
  Relu: unary(relu),
  Reshape: ([x], _a, shape) => reshape(x!, shape),
  Resize: ([x], a) => upsampleNearest(x!, a.numbers('scales')[2]!),
  Sigmoid: unary(sigmoid),
  Silu: unary(silu),
  Slice: ([x], a) => {
    const [starts, ends, steps] = [a.numbers('starts'), a.numbers('ends'), a.numbers('steps')];
    return a.numbers('axes').reduce((value, axis, i) => {
      const size = value.shape[axis] as number;
      const fromStart = (at: number): number => (at < 0 ? at + size : at);
      return slice(value, axis, fromStart(starts[i]!), fromStart(ends[i]!), steps[i]);
    }, x!);
  },
  Softmax: ([x], a) => softmax(x!, a.number('axis')),
  SoftmaxCrossEntropyLoss: ([logits, labels], { values }) => {
    const rows = crossEntropy(logits!, labels!);
    return values['reduction'] === 'mean' ? reduceMean(rows) : rows;
  },
  Softplus: unary(softplus),
  Split: ([x], a) => {
    const sizes = a.numbers('split');
    if (sizes.every((size) => size === sizes[0])) return split(x!, a.number('axis'), sizes.length);
    let start = 0;
    return sizes.map((size) => slice(x!, a.number('axis'), start, (start += size)));
  },
  Sqrt: unary(sqrt),
  StraightThrough: binary(straightThrough),
  Sub: binary(sub),
  Tanh: unary(tanh),
  Transpose: ([x], a) => transpose(x!, a.numbers('perm')),
  Where: ([condition, a, b]) => where(condition!, a!, b!),
};

/** Goldens of what the vocabulary lacks and no model needs. */
const LEFT_OUT: Readonly<Record<string, string>> = {
  batch_norm_inference: 'batch normalisation is used in training only',
  gather_axis1: 'tables are read along axis 0',
  gather_scalar: 'tables are read along axis 0',
  instance_norm: 'groups are normalised by GroupNormalization',
  instance_norm_groups: 'groups are normalised by GroupNormalization',
  layer_norm_two_axes: 'layers are normalised over the last axis',
  pad_value: 'padding is zero',
  resize_bilinear: 'two matrix products in @clip-gen/nn, tested there',
};
/** Inputs whose gradient PyTorch has and we refuse. */
const REFUSED: Readonly<Record<string, readonly number[]>> = { pow_general: [1] };

const cases: readonly Case[] = [...goldens.metadata]
  .filter(([name]) => name !== 'precision')
  .map(([name, about]) => ({ name, ...(JSON.parse(about) as Omit<Case, 'name'>) }));
const covered = new Set<OpType>();

function suffixes(count: number): string[] {
  return count === 1 ? [''] : Array.from({ length: count }, (_, i) => `.${i}`);
}

function build(c: Case) {
  const graph = new GraphBuilder(c.name);
  const feeds: Record<string, Tensor> = {};
  const input = (name: string, golden: string): Value => {
    const data = goldens.get(golden)!;
    feeds[name] = data;
    return graph.input(name, data.dtype, data.shape);
  };
  const inputs = Array.from({ length: c.inputs }, (_, i) => input(`in.${i}`, `${c.name}.in.${i}`));
  const names = suffixes(c.outputs);
  const built = BUILD[c.op]!(inputs, new Attrs(c.attrs), goldens.tensor(`${c.name}.out${names[0]}`).shape);
  const results = 'graph' in built ? [built] : built;
  for (const node of graph.nodes) covered.add(node.op);
  results.forEach((result, i) => graph.output(`out${names[i]}`, result));
  const targets = results.map((value, i) => ({
    value,
    cotangent: input(`cotangent${names[i]}`, `${c.name}.cotangent${names[i]}`),
  }));
  const at = c.differentiable.filter((i) => !REFUSED[c.name]?.includes(i));
  gradients(
    targets,
    at.map((i) => inputs[i]!),
  ).forEach((gradient, k) => graph.output(`grad.${at[k]}`, gradient));
  return { graph, feeds, results, names, at };
}

describe.each(cases.filter(({ name }) => !(name in LEFT_OUT)))('$name', (c) => {
  it('has PyTorch’s value and gradients, the shape it declared, and the slope of its values', async () => {
    const { graph, feeds, results, names, at } = build(c);
    const session = await createSession(encodeModel(graph), { threads: 1 });
    try {
      const outputs = await session.run(feeds);
      names.forEach((name, i) => {
        expectTensor(`out${name}`, outputs[`out${name}`], goldens.tensor(`${c.name}.out${name}`), VALUES);
        expect(results[i]!.shape).toEqual(outputs[`out${name}`]!.shape);
      });
      for (const i of at) {
        expectTensor(`grad.${i}`, outputs[`grad.${i}`], goldens.tensor(`${c.name}.grad.${i}`), GRADIENTS);
      }
      if (c.op === 'StraightThrough') return; // its gradient is not the slope of its value, by design
      const objective = async (changed: Readonly<Record<string, Tensor>>): Promise<number> => {
        const values = await session.run({ ...feeds, ...changed }, { fetch: names.map((name) => `out${name}`) });
        return names.reduce((sum, name) => sum + dot(values[`out${name}`]!, feeds[`cotangent${name}`]!), 0);
      };
      for (const i of at) {
        const x = feeds[`in.${i}`]!;
        const gradient = outputs[`grad.${i}`]!;
        for (const direction of [signs(x.data.length, 1), signs(x.data.length, 2)]) {
          const ahead = await objective({ [`in.${i}`]: moved(x, direction, STEP) });
          const behind = await objective({ [`in.${i}`]: moved(x, direction, -STEP) });
          const slope = (ahead - behind) / (2 * STEP);
          const expected = dot(gradient, direction);
          const size = dot(gradient, signsOf(gradient));
          expect(Math.abs(slope - expected), `slope by in.${i}: ${slope}, ${expected}`).toBeLessThan(
            DIFFERENCES * Math.max(size, 1),
          );
        }
      }
    } finally {
      await session.close();
    }
  });
});

describe('the cases', () => {
  // The cases above have run by now and `covered` holds the operators of their graphs.
  it('cover every operator that has a gradient', () => {
    const differentiable = Object.entries(RULES).flatMap(([op, rule]) => (typeof rule === 'function' ? [op] : []));
    expect(differentiable.filter((op) => !covered.has(op as OpType))).toEqual([]);
  });

  it('are all built or left out for a reason', () => {
    expect(cases.filter(({ name, op }) => !(name in LEFT_OUT) && !(op in BUILD)).map(({ name }) => name)).toEqual([]);
    const names = new Set(cases.map(({ name }) => name));
    expect(Object.keys(LEFT_OUT).filter((name) => !names.has(name))).toEqual([]);
  });
});

function dot(a: Tensor, b: Tensor): number {
  let sum = 0;
  for (let i = 0; i < a.data.length; i++) sum += Number(a.data[i]) * Number(b.data[i]);
  return sum;
}

/** Plus or minus one each, the same on every run. */
function signs(count: number, seed: number): Tensor<'float32'> {
  const data = Float32Array.from({ length: count }, (_, i) =>
    Math.imul(i + seed * 977, 0x9e3779b1) & 0x4000 ? 1 : -1,
  );
  return { dtype: 'float32', shape: [count], data };
}

function signsOf({ shape, data }: Tensor): Tensor<'float32'> {
  return {
    dtype: 'float32',
    shape,
    data: Float32Array.from({ length: data.length }, (_, i) => Math.sign(Number(data[i]))),
  };
}

function moved(x: Tensor, direction: Tensor, step: number): Tensor {
  const data = Float32Array.from(
    { length: x.data.length },
    (_, i) => Number(x.data[i]) + step * Number(direction.data[i]),
  );
  return { dtype: 'float32', shape: x.shape, data };
}
