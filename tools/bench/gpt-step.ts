/**
 * A training step of the transformer (forward, cross-entropy, backward) as one ONNX graph beside the same model in
 * PyTorch: the same weights and batch, rounds interleaved; loss and gradient norm must agree. The peer is its fastest
 * variant under its better OpenMP setting, picked by a few rounds before those that count.
 *
 *     CLIP_GEN_PYTHON=/path/to/python3 node --import tsx tools/bench/gpt-step.ts [--config recipe|gpt2-medium] [--batch 64]
 *         [--threads 2] [--compile] [--profile PREFIX] [--quick] [--json FILE]
 *
 * `recipe` is the model of models/emoji/recipes/gpt.json; every preset of libs/gpt goes too.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gradients } from '@clip-gen/autodiff';
import { GPT_PRESETS, gptConfigSchema, predictTokens, type GptConfig } from '@clip-gen/gpt';
import { encodeModel, GraphBuilder, slice } from '@clip-gen/graph';
import { tokenCrossEntropy } from '@clip-gen/losses';
import { initialize, Scope } from '@clip-gen/nn';
import { defaultDecay, globalNorm, ParameterArena } from '@clip-gen/optimizer';
import { RandomStream } from '@clip-gen/rng';
import { createSession } from '@clip-gen/runtime';
import { writeSafetensors } from '@clip-gen/safetensors';
import { tensor, type Tensor } from '@clip-gen/tensor';
import {
  benchOptions,
  contender,
  interleave,
  least,
  machine,
  median,
  printTable,
  saveFigures,
  timed,
  type Contender,
} from './measure.ts';
import { recipeModel } from './recipe.ts';
import { startTorch, type OmpWaiting, type TorchPeer } from './torch-peer.ts';

/** Of loss and gradient norm: both sides compute in float32 and add up in different orders. */
const AGREEMENT = 1e-4;

const options = benchOptions({
  config: { type: 'string', default: 'recipe' },
  batch: { type: 'string', default: '64' },
  threads: { type: 'string', default: '2' },
  compile: { type: 'boolean', default: false },
  profile: { type: 'string' },
});
const configs: Readonly<Record<string, GptConfig>> = {
  recipe: await recipeModel('gpt', gptConfigSchema),
  ...GPT_PRESETS,
};
const config = configs[options.config];
if (!config) throw new Error(`--config must be one of ${Object.keys(configs).join(', ')}; got ${options.config}`);
const batch = options.quick ? Math.min(8, Number(options.batch)) : Number(options.batch);
const threads = Number(options.threads);

const { graph, scope } = trainingGraph(config, batch);
const arena = new ParameterArena(
  scope.specs.map(({ name, shape }) => ({ name, shape, decay: defaultDecay(name, shape) })),
);
for (const [name, start] of initialize(scope.specs, 1)) arena.values.get(name)!.data.set(start.data);
const example = exampleBatch(config, batch);
const feeds: Record<string, Tensor> = { ...Object.fromEntries(arena.values), ...example };
const into = Object.fromEntries([...arena.gradients].map(([name, value]) => [`grad.${name}`, value]));

const start = performance.now();
const session = await createSession(encodeModel(graph), {
  threads,
  ...(options.profile === undefined ? {} : { profilePrefix: options.profile }),
});
const compileMs = performance.now() - start;

let loss = NaN;
const own = contender('clip-gen', () =>
  timed(async () => {
    const outputs = await session.run(feeds, { into });
    loss = Number(outputs['loss']!.data[0]);
  }),
);

interface Step {
  readonly ms: number;
  readonly loss: number;
  readonly norm: number;
}
interface PeerContender extends Contender {
  last?: Step;
}

const folder = await mkdtemp(join(tmpdir(), 'clip-gen-bench-'));
const peers: TorchPeer[] = [];
try {
  const weights = join(folder, 'weights.safetensors');
  await writeSafetensors(weights, [...arena.values, ...Object.entries(example)]);
  const others: PeerContender[] = [];
  for (const waiting of ['passive', 'default'] as const satisfies readonly OmpWaiting[]) {
    const peer = await startTorch('gpt-step.py', { config, weights, threads }, waiting);
    if (!peer) break;
    peers.push(peer);
    for (const variant of ['layers', 'packed', 'explicit', ...(options.compile ? ['compiled'] : [])]) {
      const other: PeerContender = contender(`PyTorch ${variant}, OpenMP ${waiting}`, async () => {
        other.last = await peer.ask<Step>({ variant });
        return other.last.ms;
      });
      others.push(other);
    }
  }

  const best = await pickFastest(others);
  const finalists = best ? [own, best] : [own];
  for (const { times } of finalists) times.length = 0;
  await interleave(finalists, { warmup: 1, rounds: options.quick ? 5 : 40, budgetMs: options.quick ? 3_000 : 50_000 });

  console.log(
    `GPT training step, ${options.config}, batch ${batch}, ${threads} threads, graph ${graph.nodes.length} nodes`,
  );
  console.log(`${machine()}; ${best ? `PyTorch ${String(peers[0]!.hello['torch'])}` : 'no peer'}`);
  const timedPeers = others.filter(({ times }) => times.length > 0);
  const rows = [own, ...timedPeers].map(({ name, times }) => {
    const picked = name === best?.name ? `${name} *` : name;
    return [picked, median(times), least(times), times.length, median(own.times) / median(times)] as const;
  });
  printTable(
    ['', 'median ms', 'least ms', 'rounds', 'clip-gen ÷ this'],
    rows.map(([name, mid, low, rounds, ratio]) => [name, mid, low, String(rounds), ratio]),
  );
  const norm = globalNorm(arena);
  const agreement = best?.last
    ? { loss: Math.abs(loss / best.last.loss - 1), norm: Math.abs(norm / best.last.norm - 1) }
    : undefined;
  if (best && agreement) {
    const ratio = median(own.times) / median(best.times);
    const lowest = least(own.times) / least(best.times);
    console.log(
      `ratio ${ratio.toFixed(3)} (of the least times ${lowest.toFixed(3)}); goal ≤ 1.1; ` +
        `loss ${loss.toFixed(5)} and norm ${norm.toFixed(5)} agree to ${agreement.loss.toExponential(1)} and ${agreement.norm.toExponential(1)}`,
    );
  }
  await saveFigures(options.json, {
    bench: 'gpt-step',
    config: options.config,
    batch,
    threads,
    compileMs,
    contenders: rows.map(([name, mid, low, rounds, ratio]) => ({ name, medianMs: mid, leastMs: low, rounds, ratio })),
    agreement,
  });
  if (agreement && !(agreement.loss < AGREEMENT && agreement.norm < AGREEMENT)) {
    throw new Error(`loss and gradient norm must agree to ${AGREEMENT}: the two sides do not compute the same`);
  }
} finally {
  for (const peer of peers) peer.close();
  await session.close();
  await rm(folder, { recursive: true, force: true });
}

/** Each once, then twice more those that are not hopeless. */
async function pickFastest(others: readonly PeerContender[]): Promise<PeerContender | undefined> {
  await interleave(others, { warmup: 0, rounds: 1 });
  const first = least(others.map(({ times }) => times[0]!));
  const hopeful = others.filter(({ times }) => times[0]! < 2 * first);
  await interleave(hopeful, { warmup: 0, rounds: options.quick ? 1 : 2, budgetMs: 15_000 });
  return others.toSorted((a, b) => least(a.times) - least(b.times))[0];
}

/** The trainer's graph without the embedding loss: `loss` and `grad.<name>`. */
function trainingGraph(size: GptConfig, rows: number) {
  const builder = new GraphBuilder('gpt-step');
  const root = new Scope(builder);
  const ids = builder.input('tokens', 'int64', [rows, size.tokens]);
  const conditions = builder.input('condition', 'float32', [rows, size.conditionSize]);
  const logits = predictTokens(root, size, conditions, slice(ids, 1, 0, size.tokens - 1));
  const total = tokenCrossEntropy(logits, ids);
  builder.output('loss', total);
  const wanted = builder.parameters;
  const found = gradients(
    total,
    wanted.map(({ value }) => value),
  );
  wanted.forEach(({ name }, i) => builder.output(`grad.${name}`, found[i]!));
  return { graph: builder, scope: root };
}

/** Random tokens and unit conditions. */
function exampleBatch(size: GptConfig, rows: number) {
  const random = new RandomStream(2);
  const ids = BigInt64Array.from({ length: rows * size.tokens }, () =>
    BigInt(Math.floor(random.uniform() * size.vocabularySize)),
  );
  const conditions = Float32Array.from({ length: rows * size.conditionSize }, () => random.normal());
  for (let row = 0; row < rows; row++) {
    const one = conditions.subarray(row * size.conditionSize, (row + 1) * size.conditionSize);
    const length = Math.hypot(...one);
    one.forEach((value, i) => (one[i] = value / length));
  }
  return {
    tokens: tensor('int64', [rows, size.tokens], ids),
    condition: tensor('float32', [rows, size.conditionSize], conditions),
  };
}
