import { gptConfigSchema } from '@clip-gen/gpt';
import { initialize } from '@clip-gen/nn';
import { globalNorm, ParameterArena } from '@clip-gen/optimizer';
import { tensor } from '@clip-gen/tensor';
import { expectClose } from '@clip-gen/testing';
import { afterEach, expect, it } from 'vitest';
import type { FrozenModels } from '../stages/frozen-models.ts';
import { trainingGraph } from '../stages/gpt-graphs.ts';
import { StepGraph } from '../step-graph.ts';
import { gradientName } from '../trainable.ts';
import { freePort } from './free-port.ts';
import { GradientReduction } from './gradient-reduction.ts';
import { World } from './world.ts';

const SIZES = [3, 40, 17, 1, 30];
const RUNS = 2;

let worlds: World[] = [];
afterEach(async () => {
  await Promise.all(worlds.map((world) => world.close()));
});

async function join(worldSize: number): Promise<void> {
  const rendezvous = `127.0.0.1:${await freePort()}`;
  const ranks = Array.from({ length: worldSize }, (_, rank) => rank);
  worlds = await Promise.all(ranks.map((rank) => World.join({ rank, worldSize, rendezvous, token: 'only for tests' })));
}

/** What a rank's run writes for element i of parameter p. */
const gradientAt = (rank: number, run: number, p: number, i: number): number => Math.sin(1 + rank + 7 * run + p + i);

it.each([1, 2])('averages over %i processes what the runs of each add up, bucket by bucket', async (worldSize) => {
  await join(worldSize);
  const specs = SIZES.map((size, p) => ({ name: `p${p}`, shape: [size], decay: false }));
  const results = await Promise.all(
    worlds.map(async (world) => {
      const arena = new ParameterArena(specs, { microGradients: true });
      const buckets = arena.buckets('gradients', 100);
      expect(buckets.length).toBeGreaterThan(2);
      // The last step, whose sums must not remain.
      for (const { data } of arena.gradients.values()) data.fill(1000);
      const reduction = new GradientReduction(arena, buckets, RUNS, world);
      for (let run = 0; run < RUNS; run++) {
        const into = run === 0 ? arena.gradients : arena.microGradients;
        for (let bucket = buckets.length - 1; bucket >= 0; bucket--) {
          for (const { spec } of buckets[bucket]!.slices) {
            const { data } = into.get(spec.name)!;
            for (let i = 0; i < data.length; i++) data[i] = gradientAt(world.rank, run, Number(spec.name[1]), i);
          }
          reduction.written(run, bucket);
          if (bucket === 1) await new Promise((resolve) => setTimeout(resolve, 5)); // the rest is still computed
        }
      }
      const norm = await reduction.norm();
      return { norm, expected: globalNorm(arena), gradients: [...arena.gradients.values()].map(({ data }) => data) };
    }),
  );
  for (const { norm, expected, gradients } of results) {
    if (worldSize === 1) expect(norm).toBeUndefined();
    else expect(norm! / expected).toBeCloseTo(1, 12);
    expect(gradients).toEqual(results[0]!.gradients);
    gradients.forEach((data, p) =>
      data.forEach((value, i) => {
        let sum = 0;
        for (let rank = 0; rank < worldSize; rank++) {
          for (let run = 0; run < RUNS; run++) sum += gradientAt(rank, run, p, i);
        }
        expect(value).toBeCloseTo(sum / worldSize, 5);
      }),
    );
  }
});

it('takes the gradients of a graph in segments while it runs', async () => {
  await join(2);
  const sizes = { tokens: 8, vocabularySize: 16, conditionSize: 8, width: 16, layers: 2, heads: 2 };
  const config = gptConfigSchema.parse({ model: 'gpt', ...sizes });
  const feeds = (rank: number) => {
    const ids = (count: number) => BigInt64Array.from({ length: 2 * count }, (_, i) => BigInt((5 * i + 3 * rank) % 16));
    const condition = Float32Array.from({ length: 16 }, (_, i) => Math.cos(i + rank));
    return {
      tokens: tensor('int64', [2, 8], ids(8)),
      previous: tensor('int64', [2, 7], ids(7)),
      condition: tensor('float32', [2, 8], condition),
    };
  };
  const { graph, specs } = trainingGraph(config, 2, 0, {} as FrozenModels);
  const values = Object.fromEntries(initialize(specs, 1));
  const whole = await StepGraph.compile(graph, 1);
  const [first, second] = [await whole.run(values, feeds(0)), await whole.run(values, feeds(1))];
  await whole.close();

  await Promise.all(
    worlds.map(async (world) => {
      const arena = new ParameterArena(specs.map(({ name, shape }) => ({ name, shape, decay: false })));
      const buckets = arena.buckets('gradients', 2048);
      const groups = buckets.map(({ slices }) => ({ outputs: slices.map(({ spec }) => gradientName(spec.name)) }));
      const step = await StepGraph.compile(graph, 1, { groups, segments: 4 });
      expect(step.segments).toBe(4);
      const reduction = new GradientReduction(arena, buckets, 1, world);
      const into = Object.fromEntries(Array.from(arena.gradients, ([name, value]) => [gradientName(name), value]));
      await step.run(values, feeds(world.rank), into, (bucket) => reduction.written(0, bucket));
      expect((await reduction.norm())! / globalNorm(arena)).toBeCloseTo(1, 12);
      for (const [name, { data }] of Object.entries(into)) {
        const mean = Array.from(data, (_, i) => (Number(first[name]!.data[i]) + Number(second[name]!.data[i])) / 2);
        expectClose(data, mean, { absolute: 1e-7, relative: 1e-6 });
      }
      await step.close();
    }),
  );
});
