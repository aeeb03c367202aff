// One rank of tools/bench/overlap.ts, as a process: a line of JSON names a way to do a step, the answer has its milliseconds.
import { createInterface } from 'node:readline';
import { gptConfigSchema } from '@clip-gen/gpt';
import type { GraphBuilder } from '@clip-gen/graph';
import type { ParameterSpec } from '@clip-gen/nn';
import { RandomStream } from '@clip-gen/rng';
import { tensor, type Tensor } from '@clip-gen/tensor';
import { vqganConfigSchema } from '@clip-gen/vqgan';
import { World } from '../../apps/trainer/src/distributed/world.ts';
import { trainingGraph } from '../../apps/trainer/src/stages/gpt-graphs.ts';
import { generatorGraph } from '../../apps/trainer/src/stages/vqgan-graphs.ts';
import { scalarOf, StepGraph, trainingCuts } from '../../apps/trainer/src/step-graph.ts';
import { Trainable } from '../../apps/trainer/src/trainable.ts';
import { recipeModel } from './recipe.ts';

/** What a rank is started with, as JSON in its argument. */
export interface RankOptions {
  readonly rank: number;
  readonly worldSize: number;
  readonly rendezvous: string;
  readonly model: TransformerSize | VqganSize;
  readonly batch: number;
  readonly threads: number;
}

/** A transformer of the recipes' shape. */
export interface TransformerSize {
  readonly width: number;
  readonly layers: number;
  readonly heads: number;
  readonly tokens: number;
}

/** The emoji recipe's VQGAN with the published, convolutional encoder and so many channels. */
export interface VqganSize {
  readonly channels: number;
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
const { rank, worldSize, rendezvous, batch, threads, model } = options;
const world = await World.join({ rank, worldSize, rendezvous, token: 'only for a bench' });
const random = new RandomStream(2, rank);
const { graph, specs, feeds } = 'channels' in model ? await vqganStep(model) : gptStep(model);
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

const say = (value: object): void => void process.stdout.write(`${JSON.stringify(value)}\n`);
const parameters = specs.reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1), 0);
say({ parameters, segments: trainingCuts(groups, { crossesHosts: true }).segments ?? 1 } satisfies RankHello);
for await (const line of createInterface({ input: process.stdin })) {
  const { graph: kind, reduces } = JSON.parse(line) as RankRequest;
  const step = kind === 'none' ? undefined : await compiled(kind);
  await world.any(false); // all begin together
  const start = performance.now();
  const reduction = await trainable.reduction(reduces ? world : World.alone());
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

/** A step's graph and what it is fed. */
interface Step {
  readonly graph: GraphBuilder;
  readonly specs: readonly ParameterSpec[];
  readonly feeds: Readonly<Record<string, Tensor>>;
}

function gptStep({ tokens, ...size }: TransformerSize): Step {
  const config = gptConfigSchema.parse({
    ...{ model: 'gpt', tokens, vocabularySize: 2048, conditionSize: 256 },
    ...size,
  });
  // The embedding loss, which alone looks through frozen models, is left out.
  const frozen = { vqgan: {}, clip: {} } as Parameters<typeof trainingGraph>[3];
  const ids = (count: number) => BigInt64Array.from({ length: batch * count }, () => BigInt(random.integer(2048)));
  const feeds = {
    tokens: tensor('int64', [batch, tokens], ids(tokens)),
    previous: tensor('int64', [batch, tokens - 1], ids(tokens - 1)),
    condition: tensor('float32', [batch, 256], normal(batch * 256, 1 / 16)),
  };
  return { ...trainingGraph(config, batch, 0, frozen), feeds };
}

async function vqganStep({ channels }: VqganSize): Promise<Step> {
  const config = { ...(await recipeModel('vqgan', vqganConfigSchema)), channels, patchEncoder: undefined };
  const losses = { l1: 1, mse: 2, quantizer: 1, perceptual: { kind: 'none' }, adversarial: 0 } as const;
  const shape = [batch, 3, config.imageSize, config.imageSize];
  const images = tensor('float32', shape, normal(batch * 3 * config.imageSize ** 2, 1 / 2));
  return { ...generatorGraph('plain', config, batch, losses), feeds: { images } };
}

function normal(count: number, deviation: number): Float32Array<ArrayBuffer> {
  return Float32Array.from({ length: count }, () => random.normal() * deviation);
}
