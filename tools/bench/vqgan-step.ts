/**
 * One training step of the VQGAN (forward and backward of L1 + MSE + quantiser loss) as one ONNX graph beside the same
 * model in PyTorch, in either memory layout and under either OpenMP setting: the same weights and pictures, rounds
 * interleaved; loss and gradient norm must agree.
 *
 *     CLIP_GEN_PYTHON=/path/to/python3 node --import tsx tools/bench/vqgan-step.ts [--config recipe|convolutional]
 *         [--batch 32] [--threads 2] [--rounds 9] [--quick] [--json FILE]
 *
 * `recipe` is the model of models/emoji/recipes/vqgan.json, `convolutional` the same with the published encoder. Prints
 * wall time and the processor time of all threads: on a machine that others use, compare the latter's least.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gradients } from '@clip-gen/autodiff';
import { add, encodeModel, GraphBuilder } from '@clip-gen/graph';
import { l1, mse } from '@clip-gen/losses';
import { initialize, Scope } from '@clip-gen/nn';
import { defaultDecay, globalNorm, ParameterArena } from '@clip-gen/optimizer';
import { createSession, nativeChannelBlock } from '@clip-gen/runtime';
import { writeSafetensors } from '@clip-gen/safetensors';
import { tensor, type Tensor } from '@clip-gen/tensor';
import { decodeLatents, encodeLatents, quantize, vqganConfigSchema, type VqganConfig } from '@clip-gen/vqgan';
import { benchOptions, contender, interleave, least, machine, median, printTable, saveFigures } from './measure.ts';
import { recipeModel } from './recipe.ts';
import { startTorch, type OmpWaiting, type TorchPeer } from './torch-peer.ts';

/** Of loss and gradient norm: both sides compute in float32 and add up in different orders. */
const AGREEMENT = 1e-4;

const options = benchOptions({
  config: { type: 'string', default: 'recipe' },
  batch: { type: 'string', default: '32' },
  threads: { type: 'string', default: '2' },
  rounds: { type: 'string', default: '9' },
});
const recipe = await recipeModel('vqgan', vqganConfigSchema);
const configs: Readonly<Record<string, VqganConfig>> = {
  recipe,
  convolutional: { ...recipe, patchEncoder: undefined },
};
const config = configs[options.config];
if (!config) throw new Error(`--config must be one of ${Object.keys(configs).join(', ')}; got ${options.config}`);
const batch = options.quick ? Math.min(4, Number(options.batch)) : Number(options.batch);
const threads = Number(options.threads);
const { warmup, rounds } = options.quick ? { warmup: 1, rounds: 2 } : { warmup: 3, rounds: Number(options.rounds) };

interface Step {
  readonly ms: number;
  /** Processor time of all threads. */
  readonly cpuMs: number;
  readonly loss: number;
  readonly norm: number;
}

/** A contender that also keeps what its steps found. */
function stepper(name: string, run: () => Promise<Step>) {
  const steps: Step[] = [];
  const timed = contender(name, async () => {
    const step = await run();
    steps.push(step);
    return step.ms;
  });
  return { timed, steps };
}

const { graph, scope } = trainingGraph(config, batch);
const arena = new ParameterArena(
  scope.specs.map(({ name, shape }) => ({ name, shape, decay: defaultDecay(name, shape) })),
);
for (const [name, start] of initialize(scope.specs, 1)) arena.values.get(name)!.data.set(start.data);
const images = examplePictures(config, batch);
const feeds: Record<string, Tensor> = { ...Object.fromEntries(arena.values), images };
const into = Object.fromEntries([...arena.gradients].map(([name, value]) => [`gradient.${name}`, value]));
const channelBlock = await nativeChannelBlock();
const session = await createSession(encodeModel(graph, { channelBlock }), { spin: true, threads });

const own = stepper(channelBlock ? `clip-gen, blocks of ${channelBlock}` : 'clip-gen', async () => {
  const [cpu, start] = [process.cpuUsage(), performance.now()];
  const outputs = await session.run(feeds, { into });
  const ms = performance.now() - start;
  const { user, system } = process.cpuUsage(cpu);
  return { ms, cpuMs: (user + system) / 1e3, loss: Number(outputs['loss']!.data[0]), norm: globalNorm(arena) };
});

const folder = await mkdtemp(join(tmpdir(), 'clip-gen-bench-'));
const peers: TorchPeer[] = [];
try {
  const weights = join(folder, 'weights.safetensors');
  await writeSafetensors(weights, [...arena.values, ['images', images]]);
  const others: ReturnType<typeof stepper>[] = [];
  for (const waiting of ['passive', 'default'] as const satisfies readonly OmpWaiting[]) {
    const peer = await startTorch('vqgan-step.py', { config, weights, threads }, waiting);
    if (!peer) break;
    peers.push(peer);
    for (const layout of ['contiguous', 'channels_last']) {
      others.push(stepper(`PyTorch ${layout}, OpenMP ${waiting}`, () => peer.ask<Step>({ layout })));
    }
  }
  const all = [own, ...others];
  await interleave(
    all.map(({ timed }) => timed),
    { warmup, rounds },
  );

  const parameters = [...arena.values.values()].reduce((sum, { data }) => sum + data.length, 0);
  console.log(
    `VQGAN training step, ${options.config}, ${(parameters / 1e6).toFixed(1)}M parameters, batch ${batch}, ` +
      `${threads} threads, graph ${graph.nodes.length} nodes`,
  );
  console.log(`${machine()}; ${peers[0] ? `PyTorch ${String(peers[0].hello['torch'])}` : 'no peer'}`);
  const rows = all.map(({ timed: { name, times }, steps }) => {
    const cpu = steps.slice(-times.length).map(({ cpuMs }) => cpuMs);
    return { name, medianMs: median(times), leastMs: least(times), medianCpuMs: median(cpu), leastCpuMs: least(cpu) };
  });
  printTable(
    ['', 'median ms', 'least ms', 'median CPU ms', 'least CPU ms'],
    rows.map(({ name, ...figures }) => [name, ...Object.values(figures)]),
  );
  const [ours, ...theirs] = rows;
  if (theirs.length > 0) {
    const ratio = (of: (row: (typeof rows)[number]) => number): string =>
      (of(ours!) / Math.min(...theirs.map(of))).toFixed(3);
    console.log(
      `ratio to the peer's best: ${ratio((row) => row.medianMs)} (of the least times ${ratio((row) => row.leastMs)}, ` +
        `of processor time ${ratio((row) => row.medianCpuMs)}); goal ≤ 1.1`,
    );
  }
  const { loss, norm } = own.steps.at(-1)!;
  const apart = (of: (step: Step) => number): number =>
    Math.max(0, ...others.map(({ steps }) => Math.abs(of(own.steps.at(-1)!) / of(steps.at(-1)!) - 1)));
  const agreement = { loss: apart((step) => step.loss), norm: apart((step) => step.norm) };
  if (others.length > 0) {
    const [lossApart, normApart] = [agreement.loss.toExponential(1), agreement.norm.toExponential(1)];
    console.log(`loss ${loss.toFixed(5)} and norm ${norm.toFixed(5)} agree to ${lossApart} and ${normApart}`);
  }
  await saveFigures(options.json, {
    bench: 'vqgan-step',
    config: options.config,
    batch,
    threads,
    rounds,
    contenders: rows,
    ...(others.length > 0 ? { agreement } : {}),
  });
  if (!(agreement.loss < AGREEMENT && agreement.norm < AGREEMENT)) {
    throw new Error(`loss and gradient norm must agree to ${AGREEMENT}: the two sides do not compute the same`);
  }
} finally {
  for (const peer of peers) peer.close();
  await session.close();
  await rm(folder, { recursive: true, force: true });
}

/** The generator's step of the trainer, without perceptual and adversarial losses. */
function trainingGraph(sizes: VqganConfig, rows: number) {
  const builder = new GraphBuilder('vqgan-step');
  const root = new Scope(builder);
  const x = builder.input('images', 'float32', [rows, 3, sizes.imageSize, sizes.imageSize]);
  const quantized = quantize(root, sizes, encodeLatents(root, sizes, x));
  const y = decodeLatents(root, sizes, quantized.codes);
  const loss = add(add(l1(x, y), mse(x, y)), quantized.loss);
  builder.output('loss', loss);
  const wanted = builder.parameters;
  const found = gradients(
    loss,
    wanted.map(({ value }) => value),
  );
  wanted.forEach(({ name }, i) => builder.output(`gradient.${name}`, found[i]!));
  return { graph: builder, scope: root };
}

/** Waves: pictures that are smooth and all different. */
function examplePictures({ imageSize }: VqganConfig, rows: number): Tensor {
  const shape = [rows, 3, imageSize, imageSize];
  const pixels = Float32Array.from({ length: rows * 3 * imageSize ** 2 }, (_, i) => Math.sin(i * 0.01 * (1 + (i % 3))));
  return tensor('float32', shape, pixels);
}
