// One rank of tools/bench/overlap.ts, as a process: a line of JSON names a way to do a step, the answer has its milliseconds.
import { createInterface } from 'node:readline';
import { gptConfigSchema } from '@clip-gen/gpt';
import { RandomStream } from '@clip-gen/rng';
import { tensor } from '@clip-gen/tensor';
import { World } from '../../apps/trainer/src/distributed/world.ts';
import { trainingGraph } from '../../apps/trainer/src/stages/gpt-graphs.ts';
import { scalarOf, StepGraph, trainingCuts } from '../../apps/trainer/src/step-graph.ts';
import { Trainable } from '../../apps/trainer/src/trainable.ts';

/** What a rank is started with, as JSON in its argument. */
export interface RankOptions {
  readonly rank: number;
  readonly worldSize: number;
  readonly rendezvous: string;
  readonly model: { readonly width: number; readonly layers: number; readonly heads: number };
  readonly tokens: number;
  readonly batch: number;
  readonly threads: number;
}

/** A way to do a step. */
export interface RankRequest {
  /** As one graph, in segments, or the gradients are exchanged alone. */
  readonly graph: 'whole' | 'segments' | 'none';
  /** Whether the gradients are exchanged. */
  readonly reduces: boolean;
}

/** What it took. */
export interface RankTimes {
  readonly ms: number;
  readonly loss: number;
  readonly norm: number;
  /** Of the process, in MiB. */
  readonly residentMiB: number;
}

/** What a rank says first. */
export interface RankHello {
  readonly parameters: number;
  readonly segments: number;
}

const options = JSON.parse(process.argv[2] ?? '{}') as RankOptions;
const { rank, worldSize, rendezvous, batch, tokens, threads } = options;
const world = await World.join({ rank, worldSize, rendezvous, token: 'only for a bench' });
const config = gptConfigSchema.parse({
  ...{ model: 'gpt', tokens, vocabularySize: 2048, conditionSize: 256 },
  ...options.model,
});
// The embedding loss, which alone looks through frozen models, is left out.
const frozen = { vqgan: {}, clip: {} } as Parameters<typeof trainingGraph>[3];
const { graph, specs } = trainingGraph(config, batch, 0, frozen);
const adam = { beta1: 0.9, beta2: 0.95, weightDecay: 0, gradientClip: 1, averageDecay: 0 };
const trainable = new Trainable(specs, { ...adam, seed: 1, accumulate: 1 });
const { groups } = trainable;
const graphs = new Map<string, StepGraph>();
const compiled = async (kind: 'whole' | 'segments'): Promise<StepGraph> => {
  const cuts = kind === 'whole' ? { groups } : trainingCuts(groups, { crossesHosts: true });
  const known = graphs.get(kind) ?? (await StepGraph.compile(graph, threads, cuts));
  graphs.set(kind, known);
  return known;
};

const random = new RandomStream(2, rank);
const ids = (count: number) => BigInt64Array.from({ length: batch * count }, () => BigInt(random.integer(2048)));
const feeds = {
  tokens: tensor('int64', [batch, tokens], ids(tokens)),
  previous: tensor('int64', [batch, tokens - 1], ids(tokens - 1)),
  condition: tensor(
    'float32',
    [batch, 256],
    Float32Array.from({ length: batch * 256 }, () => random.normal() / 16),
  ),
};

const say = (value: object): void => void process.stdout.write(`${JSON.stringify(value)}\n`);
const parameters = specs.reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1), 0);
say({ parameters, segments: trainingCuts(groups, { crossesHosts: true }).segments ?? 1 } satisfies RankHello);
for await (const line of createInterface({ input: process.stdin })) {
  const { graph: kind, reduces } = JSON.parse(line) as RankRequest;
  const step = kind === 'none' ? undefined : await compiled(kind);
  await world.any(false); // all begin together
  const start = performance.now();
  const reduction = trainable.reduction(reduces ? world : World.alone());
  let loss = NaN;
  if (step) {
    const outputs = await step.run(trainable.values, feeds, trainable.into(), (bucket) => reduction.written(0, bucket));
    loss = scalarOf(outputs, 'loss');
  } else groups.forEach((_, bucket) => reduction.written(0, bucket));
  const norm = (await reduction.norm()) ?? NaN;
  const ms = performance.now() - start;
  say({ ms, loss, norm, residentMiB: process.memoryUsage.rss() / 2 ** 20 } satisfies RankTimes);
}
for (const step of graphs.values()) await step.close();
await world.close();
