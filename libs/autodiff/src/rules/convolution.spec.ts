import {
  conv,
  encodeModel,
  GraphBuilder,
  mul,
  reduceSum,
  upsampledConv,
  upsampleNearest,
  type ConvOptions,
} from '@clip-gen/graph';
import { createSession, nativeChannelBlock } from '@clip-gen/runtime';
import { tensor, type Tensor } from '@clip-gen/tensor';
import { expectClose } from '@clip-gen/testing';
import { describe, expect, it } from 'vitest';
import { gradients } from '../gradients.ts';

interface Case {
  readonly x: readonly [number, number, number, number];
  readonly outputs: number;
  readonly kernel: readonly [number, number];
  readonly options: ConvOptions;
}

const same: ConvOptions = { pads: [1, 1, 1, 1] };
const CASES: readonly Case[] = [
  { x: [2, 16, 5, 6], outputs: 32, kernel: [3, 3], options: same },
  { x: [2, 32, 4, 4], outputs: 16, kernel: [1, 1], options: {} },
  { x: [2, 12, 6, 6], outputs: 48, kernel: [3, 3], options: same }, // fewer channels than a block
  { x: [2, 48, 6, 6], outputs: 12, kernel: [3, 3], options: same }, // output channels that miss a block
  { x: [2, 5, 6, 6], outputs: 3, kernel: [3, 3], options: same },
  { x: [1, 20, 4, 4], outputs: 16, kernel: [3, 3], options: same },
  { x: [2, 16, 6, 6], outputs: 16, kernel: [3, 3], options: { stride: 2, pads: [0, 0, 1, 1] } },
  { x: [2, 16, 7, 6], outputs: 16, kernel: [4, 4], options: { pads: [1, 1, 1, 1] } },
  { x: [2, 16, 5, 7], outputs: 16, kernel: [2, 3], options: { pads: [0, 2, 1, 0] } },
  { x: [2, 16, 5, 7], outputs: 16, kernel: [3, 3], options: {} },
];

describe('convolution and its gradients', () => {
  it.each(CASES)('$x → $outputs, kernel $kernel, $options: as the definition says', async (c) => {
    const feeds = feedsOf(c);
    const plain = await run(c, feeds, undefined);
    const expected = byDefinition(c, feeds, plain['y']!.shape);
    for (const [name, values] of Object.entries(expected)) {
      expectClose(plain[name]!.data as Float32Array, values, { relative: 1e-5, scale: 'max' });
    }
    const block = await nativeChannelBlock();
    if (!block) return; // a CPU without blocked kernels
    const blocked = await run(c, feeds, block);
    for (const [name, values] of Object.entries(expected)) {
      expectClose(blocked[name]!.data as Float32Array, values, { relative: 1e-5, scale: 'max' });
    }
  });

  it.each([true, false])(
    'upsampledConv is upsampling before a 3 × 3 convolution, with its gradients (bias %s)',
    async (biased) => {
      const graph = new GraphBuilder('upsampled');
      const x = graph.input('x', 'float32', [2, 16, 3, 5]);
      const w = graph.input('w', 'float32', [32, 16, 3, 3]);
      const b = biased ? graph.input('b', 'float32', [32]) : null;
      const inputs = b ? [x, w, b] : [x, w];
      const ways = { apart: conv(upsampleNearest(x, 2), w, b, same), together: upsampledConv(x, w, b) };
      for (const [way, y] of Object.entries(ways)) {
        graph.output(`${way}.y`, y);
        const slopes = gradients(mul(reduceSum(mul(y, y)), 0.5), inputs);
        slopes.forEach((slope, i) => graph.output(`${way}.d${i}`, slope));
      }
      const session = await createSession(encodeModel(graph, { channelBlock: await nativeChannelBlock() }), {
        threads: 1,
      });
      try {
        const feeds = Object.fromEntries(inputs.map(({ name, shape }) => [name, wave(shape as number[], 0.37)]));
        const results = await session.run(feeds);
        for (const name of ['y', ...inputs.map((_, i) => `d${i}`)]) {
          const [apart, together] = [results[`apart.${name}`]!, results[`together.${name}`]!];
          expect(together.shape).toEqual(apart.shape);
          expectClose(together.data as Float32Array, apart.data as Float32Array, { relative: 1e-5, scale: 'max' });
        }
      } finally {
        await session.close();
      }
    },
  );

  it('hands blocked activations from one convolution to the next', async () => {
    const block = await nativeChannelBlock();
    if (!block) return;
    const graph = new GraphBuilder('chain');
    const x = graph.input('x', 'float32', [1, 32, 4, 4]);
    const middle = conv(x, graph.parameter('a', [32, 32, 3, 3]), null, same);
    graph.output('y', conv(middle, graph.parameter('b', [32, 32, 3, 3]), null, same));
    const text = Buffer.from(encodeModel(graph, { channelBlock: block })).toString('latin1');
    expect(text.split('ReorderInput').length - 1).toBe(1);
    expect(text.split('ReorderOutput').length - 1).toBe(1);
  });
});

function wave(shape: readonly number[], pace: number): Tensor<'float32'> {
  const length = shape.reduce((a, b) => a * b, 1);
  return tensor(
    'float32',
    shape,
    Float32Array.from({ length }, (_, i) => Math.sin(pace * i * i + i)),
  );
}

function feedsOf(c: Case): Record<'x' | 'w' | 'b', Tensor<'float32'>> {
  return { x: wave(c.x, 0.37), w: wave([c.outputs, c.x[1], ...c.kernel], 0.73), b: wave([c.outputs], 0.11) };
}

/** y, and the gradients of Σ y²/2 by x, w and b. */
async function run(c: Case, feeds: Record<string, Tensor>, channelBlock: 8 | 16 | undefined) {
  const graph = new GraphBuilder('convolution');
  const values = Object.entries(feeds).map(([name, { shape }]) => graph.input(name, 'float32', shape));
  const [x, w, b] = [values[0]!, values[1]!, values[2]!];
  const y = conv(x, w, b, c.options);
  const [dx, dw, db] = gradients(mul(reduceSum(mul(y, y)), 0.5), values);
  for (const [name, value] of Object.entries({ y, dx: dx!, dw: dw!, db: db! })) graph.output(name, value);
  const session = await createSession(encodeModel(graph, { channelBlock }), { threads: 1 });
  try {
    return await session.run(feeds);
  } finally {
    await session.close();
  }
}

/** The same by loops over every output, tap and channel, in float64. */
function byDefinition(c: Case, feeds: Record<'x' | 'w' | 'b', Tensor<'float32'>>, yShape: readonly number[]) {
  const [batch, inputs, height, width] = c.x;
  const [, , outHeight, outWidth] = yShape as [number, number, number, number];
  const [kh, kw] = c.kernel;
  const { stride = 1, pads = [0, 0, 0, 0] } = c.options;
  const [x, w, b] = [feeds.x.data, feeds.w.data, feeds.b.data];
  const y = new Float64Array(batch * c.outputs * outHeight * outWidth);
  const [dx, dw, db] = [new Float64Array(x.length), new Float64Array(w.length), new Float64Array(b.length)];
  const eachProduct = (visit: (yAt: number, xAt: number, wAt: number) => void): void => {
    for (let at = 0; at < y.length; at++) {
      const [column, row] = [at % outWidth, Math.floor(at / outWidth) % outHeight];
      const [o, n] = [
        Math.floor(at / (outWidth * outHeight)) % c.outputs,
        Math.floor(at / (outWidth * outHeight * c.outputs)),
      ];
      for (let i = 0; i < inputs; i++) {
        for (let tap = 0; tap < kh * kw; tap++) {
          const h = row * stride + Math.floor(tap / kw) - pads[0];
          const v = column * stride + (tap % kw) - pads[1];
          if (h < 0 || h >= height || v < 0 || v >= width) continue;
          visit(at, ((n * inputs + i) * height + h) * width + v, (o * inputs + i) * kh * kw + tap);
        }
      }
    }
  };
  const channel = (at: number): number => Math.floor(at / (outWidth * outHeight)) % c.outputs;
  y.forEach((_, at) => (y[at] = b[channel(at)]!));
  eachProduct((yAt, xAt, wAt) => (y[yAt] = y[yAt]! + x[xAt]! * w[wAt]!));
  eachProduct((yAt, xAt, wAt) => {
    dx[xAt] = dx[xAt]! + y[yAt]! * w[wAt]!;
    dw[wAt] = dw[wAt]! + y[yAt]! * x[xAt]!;
  });
  y.forEach((value, at) => (db[channel(at)] = db[channel(at)]! + value));
  return { y, dx, dw, db };
}
