import { add, GraphBuilder, type Value } from '@clip-gen/graph';
import { RandomStream } from '@clip-gen/rng';
import { nativeChannelBlock } from '@clip-gen/runtime';
import { tensor, type Tensor } from '@clip-gen/tensor';
import { expectTensor, runGraph } from '@clip-gen/testing';
import { describe, expect, it } from 'vitest';
import { blockedLayers } from './blocked-layers.ts';
import { initialize } from './initializer.ts';
import { PLAIN_LAYERS, type FeatureMap, type MapLayers } from './map-layers.ts';
import { Scope } from './scope.ts';

/** Of the largest element: both sides add up in float32, in different orders. */
const AGREEMENT = { relative: 1e-5, scale: 'max' } as const;

const block = await nativeChannelBlock();

interface Map {
  readonly channels: number;
  readonly height: number;
  readonly width: number;
  /** Mean of the values, whose deviation is 1. */
  readonly mean?: number;
}
type Build = <M extends FeatureMap>(layers: MapLayers<M>, scope: Scope, x: M) => Value;

const MAP: Map = { channels: 32, height: 5, width: 7 };

function randomMap({ channels, height, width, mean = 0 }: Map): Tensor<'float32'> {
  const random = new RandomStream(7);
  const values = Float32Array.from({ length: channels * height * width }, () => mean + random.normal());
  return tensor('float32', [1, channels, height, width], values);
}

/** What layers make of a map, with the same weights for the same names. */
async function compute<M extends FeatureMap>(layers: MapLayers<M>, build: Build, map: Map): Promise<Tensor> {
  const graph = new GraphBuilder('layers');
  const scope = new Scope(graph);
  const input = graph.input('x', 'float32', [1, map.channels, map.height, map.width]);
  graph.output('y', build(layers, scope, layers.enter(input)));
  const random = new RandomStream(3);
  const weights = [...initialize(scope.specs, 3)].map(([name, { shape, data }]) => {
    const moved = Float32Array.from(data, (value) => value + 0.1 * random.normal()); // ones and zeros hide what is lost
    return [name, tensor('float32', shape, moved)] as const;
  });
  return (await runGraph(graph, { ...Object.fromEntries(weights), x: randomMap(map) }))['y']!;
}

const norm = { groups: 8, epsilon: 1e-6 };
const LAYERS: readonly (readonly [string, Build])[] = [
  ['enter and leave', (layers, _, x) => layers.leave(x)],
  ['3×3', (layers, scope, x) => layers.leave(layers.conv2d(scope, x, 64, 3))],
  ['1×1 plus a map', (layers, scope, x) => layers.leave(layers.conv2d(scope, x, 32, 1, x))],
  ['last, 3 channels', (layers, scope, x) => layers.lastConv2d(scope, x, 3, 3)],
  ['last, whole blocks', (layers, scope, x) => layers.lastConv2d(scope, x, 48, 3)],
  ['upsample', (layers, scope, x) => layers.leave(layers.upsample(scope, x))],
  ['normalized', (layers, scope, x) => layers.leave(layers.normalized(scope, x, norm))],
  [
    'attention',
    (layers, scope, x) =>
      layers.leave(layers.attention({ norm: scope.child('norm'), attention: scope.child('attn') }, x, norm)),
  ],
];

describe.skipIf(block === undefined)('blockedLayers', () => {
  const blocked = blockedLayers(block ?? 16);

  it.each(LAYERS)('agrees with the standard operators: %s', async (name, build) => {
    const [plain, ours] = [await compute(PLAIN_LAYERS, build, MAP), await compute(blocked, build, MAP)];
    expectTensor(name, ours, plain, AGREEMENT);
  });

  it.each([
    ['one strip', { ...MAP, channels: 128, height: 64, width: 6 }],
    ['strips of 20 and 24 rows', { ...MAP, channels: 128, height: 68, width: 256 }],
    ['rows that fill no tiles', { ...MAP, channels: 128, height: 66, width: 5 }],
  ] satisfies (readonly [string, Map])[])(
    'convolves many channels as the standard operator does: %s',
    async (_, map) => {
      const build: Build = (layers, scope, x) => layers.leave(layers.conv2d(scope, x, 128, 3, x));
      const [plain, ours] = [await compute(PLAIN_LAYERS, build, map), await compute(blocked, build, map)];
      expectTensor('y', ours, plain, { relative: 5e-6, scale: 'max' });
    },
  );

  it.each(LAYERS)('agrees with them in strips of rows too: %s', async (name, build) => {
    const map: Map =
      name === 'attention' ? { channels: 1024, height: 32, width: 34 } : { channels: 32, height: 50, width: 1024 };
    const [plain, ours] = [await compute(PLAIN_LAYERS, build, map), await compute(blocked, build, map)];
    // Sums over 1024 channels, and a softmax of what they give.
    const relative = name === 'attention' ? 5e-5 : AGREEMENT.relative;
    expectTensor(name, ours, plain, { relative, scale: 'max' });
  });

  it.each([
    [['B', 32, 4, 4], 'must be [1, a multiple of'],
    [[2, 32, 4, 4], 'got [2, 32, 4, 4]'],
    [[1, 24, 4, 4], 'got [1, 24, 4, 4]'],
  ] as const)('refuses %j', (shape, message) => {
    const x = new GraphBuilder('refused').input('x', 'float32', shape);
    expect(() => blockedLayers(16).enter(x)).toThrow(message);
  });

  it('keeps the residual map: a convolution that adds to its input leaves the input as it was', async () => {
    const build: Build = (layers, scope, x) => {
      const y = layers.conv2d(scope, x, 32, 3, x);
      return add(layers.leave(x), layers.leave(y));
    };
    expectTensor('y', await compute(blocked, build, MAP), await compute(PLAIN_LAYERS, build, MAP), AGREEMENT);
  });

  it.each([
    [3, 1e-5],
    [30, 1e-4],
  ])('normalises a map whose mean is %d deviations to %d', async (mean, relative) => {
    const map: Map = { ...MAP, height: 64, width: 128, mean };
    const build: Build = (layers, scope, x) => layers.leave(layers.normalized(scope, x, norm));
    const [plain, ours] = [await compute(PLAIN_LAYERS, build, map), await compute(blocked, build, map)];
    expectTensor('y', ours, plain, { relative, scale: 'max' });
  });
});
