import {
  encodeModel,
  GraphBuilder,
  groupQueryAttention,
  type CachedAttentionInputs,
  type Value,
} from '@clip-gen/graph';
import { createSession } from '@clip-gen/runtime';
import { emptyTensor, tensor, type Tensor } from '@clip-gen/tensor';
import { expectClose } from '@clip-gen/testing';
import { describe, expect, it } from 'vitest';
import type { GptConfig } from './config.ts';
import { decodeStepGraph } from './decode-step.ts';
import { cacheNames } from './key-value-cache.ts';
import { roundedAttention, type RoundedCacheSteps } from './rounded-attention.ts';

const [ROWS, HEADS, ROOM, SIZE] = [3, 2, 9, 16];
const WIDTH = HEADS * SIZE;
const POSITIONS = [0, 4, 8];
const wave = (count: number, scale: number, phase: number): Float32Array =>
  Float32Array.from({ length: count }, (_, i) => scale * Math.sin(i * i * 0.7 + phase));
const STEPS: RoundedCacheSteps = {
  keys: Float32Array.from({ length: WIDTH }, (_, i) => (1 + (i % 5)) / 200),
  values: Float32Array.from({ length: WIDTH }, (_, i) => (1 + (i % 3)) / 150),
};

/** One attention over (B, H, P, D) of a type; outputs `mixed`, `keys`, `values`. */
async function attend(
  backend: 'c-api' | 'node',
  caches: readonly [keys: Tensor, values: Tensor],
  packed: Float32Array,
  attention: (packed: Value, inputs: CachedAttentionInputs) => ReturnType<typeof groupQueryAttention>,
): Promise<Record<string, Tensor>> {
  const graph = new GraphBuilder('attention');
  const [keys, values] = caches;
  const shape = ['B', HEADS, 'P', SIZE];
  const { mixed, ...present } = attention(graph.input('packed', 'float32', ['B', 1, 3 * WIDTH]), {
    pastKeys: graph.input('pastKeys', keys.dtype, shape),
    pastValues: graph.input('pastValues', values.dtype, shape),
    positions: graph.input('positions', 'int32', ['B']),
    total: graph.input('total', 'int32', [1]),
  });
  graph.output('mixed', mixed);
  graph.output('keys', present.keys);
  graph.output('values', present.values);
  const session = await createSession(encodeModel(graph), { backend, threads: 1 });
  const feeds = {
    packed: tensor('float32', [ROWS, 1, 3 * WIDTH], packed),
    pastKeys: keys,
    pastValues: values,
    positions: tensor('int32', [ROWS], Int32Array.from(POSITIONS)),
    total: tensor('int32', [1], Int32Array.of(Math.max(...POSITIONS) + 1)),
  };
  const mixedInto = emptyTensor('float32', [ROWS, 1, WIDTH]);
  await session.run(feeds, { into: { mixed: mixedInto, keys, values } });
  await session.close();
  return { mixed: mixedInto, keys, values };
}

describe.each(['c-api', 'node'] as const)('attention over keys and values in 8 bits (%s)', (backend) => {
  const count = ROWS * HEADS * ROOM * SIZE;
  const shape = [ROWS, HEADS, ROOM, SIZE];
  const stored = (phase: number) => Int8Array.from(wave(count, 127, phase));
  const channelOf = (i: number): number => (Math.floor(i / (ROOM * SIZE)) % HEADS) * SIZE + (i % SIZE);
  const given = (integers: Int8Array, steps: Float32Array): Tensor =>
    tensor(
      'float32',
      shape,
      Float32Array.from(integers, (value, i) => value * steps[channelOf(i)]!),
    );

  it('is that over the numbers which the integers stand for, the new position as it was rounded', async () => {
    const packed = wave(ROWS * 3 * WIDTH, 1, 2);
    const caches = [tensor('int8', shape, stored(0)), tensor('int8', shape, stored(1))] as const;
    const own = await attend(backend, caches, packed, (value, inputs) => roundedAttention(value, inputs, STEPS));

    // What stands at the rows' positions now is k and v of the input: the nearest step, of [−128, 127].
    const rounded = packed.slice();
    for (let row = 0; row < ROWS; row++) {
      for (const [part, steps] of [STEPS.keys, STEPS.values].entries()) {
        for (let channel = 0; channel < WIDTH; channel++) {
          const from = (row * 3 + 1 + part) * WIDTH + channel;
          const integer = Math.min(127, Math.max(-128, Math.round(packed[from]! / steps[channel]!)));
          rounded[from] = integer * steps[channel]!;
          const [head, i] = [Math.floor(channel / SIZE), channel % SIZE];
          const at = ((row * HEADS + head) * ROOM + POSITIONS[row]!) * SIZE + i;
          const kept = (part === 0 ? own['keys'] : own['values'])!.data[at] as number;
          expect(kept).toBe(integer + 0); // +0
        }
      }
    }
    const wide = [given(stored(0), STEPS.keys), given(stored(1), STEPS.values)] as const;
    const reference = await attend(backend, wide, rounded, groupQueryAttention);
    expectClose(own['mixed']!.data as Float32Array, reference['mixed']!.data as Float32Array, { absolute: 2e-5 });
  });
});

describe('steps', () => {
  const config: GptConfig = {
    ...{ model: 'gpt', tokens: 4, vocabularySize: 24, conditionSize: 16, layers: 2, heads: 2 },
    width: WIDTH,
  };
  it('are as many as channels, of every tensor of the cache', () => {
    const all = new Map(cacheNames(config).map((name) => [name, STEPS.keys]));
    expect(decodeStepGraph(config, { cacheSteps: all }).graph.inputs.map(({ dtype }) => dtype)).toContain('int8');
    const lacking = new Map([...all].slice(1));
    expect(() => decodeStepGraph(config, { cacheSteps: lacking })).toThrow(
      'cacheSteps must be a map with steps of keys.0; got "values.0,keys.1,values.1"',
    );
    const short = new Map([...all, ['values.1', STEPS.values.subarray(1)] as const]);
    expect(() => decodeStepGraph(config, { cacheSteps: short })).toThrow('steps.values must be 32 steps; got 31');
  });
});
