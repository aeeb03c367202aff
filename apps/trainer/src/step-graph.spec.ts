import { gptConfigSchema } from '@clip-gen/gpt';
import type { GraphBuilder } from '@clip-gen/graph';
import { initialize, type ParameterSpec } from '@clip-gen/nn';
import { RandomStream } from '@clip-gen/rng';
import { emptyTensor, tensor, type Tensor } from '@clip-gen/tensor';
import { vqganConfigSchema } from '@clip-gen/vqgan';
import { describe, expect, it } from 'vitest';
import { StepGraph } from './step-graph.ts';
import { trainingGraph } from './stages/gpt-graphs.ts';
import type { FrozenModels } from './stages/frozen-models.ts';
import { generatorGraph } from './stages/vqgan-graphs.ts';
import { TINY_CLIP, TINY_VQGAN } from './tiny-trainings.ts';
import { gradientName } from './trainable.ts';

// A graph in segments gives what the whole graph gives: the same nodes in the same order on the same threads.

interface Case {
  readonly graph: GraphBuilder;
  readonly specs: readonly ParameterSpec[];
  readonly feeds: Readonly<Record<string, Tensor>>;
}

const random = new RandomStream(3);
const normal = (...shape: number[]): Tensor<'float32'> => {
  const { data } = emptyTensor('float32', shape);
  return tensor(
    'float32',
    shape,
    data.map(() => random.normal()),
  );
};
const ids = (below: number, ...shape: number[]): Tensor<'int64'> =>
  tensor(
    'int64',
    shape,
    emptyTensor('int64', shape).data.map(() => BigInt(random.integer(below))),
  );

function gpt(): Case {
  const sizes = { tokens: 16, vocabularySize: 16, conditionSize: 8, width: 16, layers: 3, heads: 2 };
  const config = gptConfigSchema.parse({ model: 'gpt', ...sizes });
  const frozen: FrozenModels = {
    vqgan: { config: TINY_VQGAN, weights: {}, hash: '', folder: '' },
    clip: { config: TINY_CLIP, weights: {}, hash: '', folder: '' },
  };
  const feeds = { tokens: ids(16, 2, 16), previous: ids(16, 2, 15), condition: normal(2, 8) };
  return { ...trainingGraph(config, 2, 0, frozen), feeds };
}

/** With convolutions that fill the processor's blocks. */
function vqgan(): Case {
  const config = vqganConfigSchema.parse({ ...TINY_VQGAN, channels: 16, multipliers: [1, 2], groups: 4 });
  const losses = { l1: 1, mse: 1, quantizer: 1, perceptual: { kind: 'none' }, adversarial: 0 } as const;
  return { ...generatorGraph('plain', config, 2, losses), feeds: { images: normal(2, 3, 16, 16) } };
}

async function run({ graph, specs, feeds }: Case, groups: number, segments: number) {
  const values = Object.fromEntries(initialize(specs, 1));
  const into = Object.fromEntries(
    specs.map(({ name, shape }) => [gradientName(name), emptyTensor('float32', shape)] as const),
  );
  // As the arena's buckets: neighbours in the order in which the parameters were made.
  const names = Object.keys(into);
  const size = Math.ceil(names.length / groups);
  const parts = Array.from({ length: groups }, (_, i) => ({ outputs: names.slice(i * size, (i + 1) * size) }));
  const step = await StepGraph.compile(graph, 1, { groups: parts, segments });
  const written: { group: number; complete: boolean; left: number }[] = [];
  try {
    let outputs: Record<string, Tensor> = {};
    for (const _ of [1, 2]) {
      written.length = 0;
      for (const { data } of Object.values(into)) data.fill(NaN);
      outputs = await step.run(values, feeds, into, (group) => {
        const isWritten = (name: string): boolean => !into[name]!.data.some(Number.isNaN);
        const left = names.filter((name) => !isWritten(name)).length;
        written.push({ group, complete: parts[group]!.outputs.every(isWritten), left });
      });
    }
    const data = Object.entries(outputs).map(([name, value]) => [name, [...value.data]] as const);
    return { outputs: Object.fromEntries(data), written, segments: step.segments };
  } finally {
    await step.close();
  }
}

describe.each([
  ['GPT', gpt],
  ['VQGAN', vqgan],
] as const)('the step of a %s', (_, make) => {
  it('gives the same in segments, its last gradients first', { timeout: 60_000 }, async () => {
    const example = make();
    const whole = await run(example, 6, 1);
    expect(whole.segments).toBe(1);
    expect(whole.written.every(({ complete, left }) => complete && left === 0)).toBe(true);
    for (const segments of [3, 6]) {
      const parts = await run(example, 6, segments);
      expect(parts.segments).toBe(segments);
      expect(parts.outputs).toEqual(whole.outputs);
      expect(parts.written.map(({ group }) => group)).toEqual(whole.written.map(({ group }) => group));
      expect(parts.written.every(({ complete }) => complete)).toBe(true);
      expect(new Set(parts.written.map(({ left }) => left)).size).toBe(segments);
    }
    expect(whole.written[0]!.group).toBe(5);
  });
});

describe('a run', () => {
  it('keeps no results of an earlier one, also of outputs that later segments read', async () => {
    const { graph, specs, feeds } = gpt();
    const step = await StepGraph.compile(graph, 1, { groups: [{ outputs: ['loss'], apart: true }] });
    expect(step.segments).toBe(2);
    const first = await step.run(Object.fromEntries(initialize(specs, 1)), feeds);
    const kept = structuredClone(first);
    await step.run(Object.fromEntries(initialize(specs, 2)), feeds);
    expect(first).toEqual(kept);
    await step.close();
  });
});
