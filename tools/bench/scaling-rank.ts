// One rank of tools/bench/scaling.ts, as a process: each line on its input asks for a training step.
import { createInterface } from 'node:readline';
import { gptConfigSchema } from '@clip-gen/gpt';
import { RandomStream } from '@clip-gen/rng';
import { tensor } from '@clip-gen/tensor';
import { bindToCoreShare } from '../../libs/all-reduce/src/index.ts';
import { World } from '../../apps/trainer/src/distributed/world.ts';
import { trainingGraph } from '../../apps/trainer/src/stages/gpt-graphs.ts';
import { scalarOf, StepGraph, trainingCuts } from '../../apps/trainer/src/step-graph.ts';
import { Trainable } from '../../apps/trainer/src/trainable.ts';
import { recipeModel } from './recipe.ts';

/** What a rank is started with, as JSON in its argument. */
export interface RankOptions {
  readonly rank: number;
  readonly worldSize: number;
  readonly rendezvous: string;
  /** Rows of this rank. */
  readonly batch: number;
  readonly threads: number;
  /** Whether it keeps to its share of the cores. */
  readonly bind: boolean;
}

/** What a step took. */
export interface StepTimes {
  /** Forward, backward, exchange and optimiser. */
  readonly ms: number;
  /** While gradients were on their way. */
  readonly exchangeMs: number;
  /** While nothing else was left to do but to wait for them. */
  readonly blockedMs: number;
  readonly loss: number;
}

/** What a rank says first. */
export interface RankHello {
  readonly parameters: number;
  readonly segments: number;
}

const options = JSON.parse(process.argv[2] ?? '{}') as RankOptions;
const { rank, worldSize, rendezvous, batch, threads } = options;
if (options.bind && !bindToCoreShare(rank, worldSize)) throw new Error('a process cannot choose its cores here');
const world = await World.join({ rank, worldSize, rendezvous, token: 'only for a bench' });
const config = await recipeModel('gpt', gptConfigSchema);
// The embedding loss, which alone looks through frozen models, is left out.
const frozen = { vqgan: {}, clip: {} } as Parameters<typeof trainingGraph>[3];
const { graph, specs } = trainingGraph(config, batch, 0, frozen);
const adam = { beta1: 0.9, beta2: 0.95, weightDecay: 0.01, gradientClip: 1, averageDecay: 0 };
const trainable = new Trainable(specs, { ...adam, seed: 1, accumulate: 1 });
const step = await StepGraph.compile(graph, threads, trainingCuts(trainable.groups, world));

const { tokens, vocabularySize, conditionSize } = config;
const random = new RandomStream(2, rank);
const ids = (count: number) =>
  BigInt64Array.from({ length: batch * count }, () => BigInt(random.integer(vocabularySize)));
const feeds = {
  tokens: tensor('int64', [batch, tokens], ids(tokens)),
  previous: tensor('int64', [batch, tokens - 1], ids(tokens - 1)),
  condition: tensor(
    'float32',
    [batch, conditionSize],
    Float32Array.from({ length: batch * conditionSize }, () => random.normal() / 16),
  ),
};

/** When gradients were on their way: calls are carried out one after the other. */
const travels: { begun: number; ended: number }[] = [];
const mean = world.mean.bind(world);
world.mean = async (tensors, wire) => {
  const travel = { begun: performance.now(), ended: Infinity };
  travels.push(travel);
  await mean(tensors, wire);
  travel.ended = performance.now();
};

const say = (value: object): void => void process.stdout.write(`${JSON.stringify(value)}\n`);
const parameters = specs.reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1), 0);
say({ parameters, segments: step.segments } satisfies RankHello);
for await (const _ of createInterface({ input: process.stdin })) {
  await world.any(false); // all begin together
  travels.length = 0;
  const start = performance.now();
  const reduction = await trainable.reduction(world);
  const outputs = await step.run(trainable.values, feeds, trainable.into(), (bucket) => reduction.written(0, bucket));
  const computed = performance.now();
  await trainable.step(1e-4, reduction);
  const ms = performance.now() - start;
  let exchangeMs = 0;
  let last = 0;
  for (const { begun, ended } of travels) {
    exchangeMs += ended - Math.max(begun, last);
    last = ended;
  }
  const blockedMs = Math.max(0, last - computed);
  say({ ms, exchangeMs, blockedMs, loss: scalarOf(outputs, 'loss') } satisfies StepTimes);
}
await step.close();
await world.close();
