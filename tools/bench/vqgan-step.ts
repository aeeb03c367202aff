/**
 * One training step (forward and backward of L1 + MSE + quantiser loss) of the VQGAN for 64 × 64 emoji, batch 32, on
 * two threads: our graph beside the same model in PyTorch, in either memory layout, rounds interleaved.
 *
 *     CLIP_GEN_PYTHON=/path/to/python3 node --import tsx tools/bench/vqgan-step.ts [rounds]
 *
 * Prints wall time and the processor time of all threads: on a machine that others use, compare the latter's `best`.
 */
import { gradients } from '../../libs/autodiff/src/index.ts';
import { add, encodeModel, GraphBuilder } from '../../libs/graph/src/index.ts';
import { l1, mse } from '../../libs/losses/src/index.ts';
import { initialize, Scope } from '../../libs/nn/src/index.ts';
import { createSession, nativeChannelBlock } from '../../libs/runtime/src/index.ts';
import { emptyTensor, tensor, type Tensor } from '../../libs/tensor/src/index.ts';
import { decodeLatents, encodeLatents, quantize, type VqganConfig } from '../../libs/vqgan/src/index.ts';
import { startTorch, type OmpWaiting } from './torch-peer.ts';

const THREADS = 2;
const BATCH = 32;
const WARMUP_ROUNDS = 3;
const ROUNDS = Number(process.argv[2] ?? 9);
const CONFIG: VqganConfig = {
  model: 'vqgan',
  imageSize: 64,
  patchSize: 2,
  channels: 48,
  multipliers: [1, 2, 3],
  blocks: 2,
  attentionSides: [],
  groups: 16,
  codebookSize: 1024,
  codeSize: 64,
};

interface Step {
  readonly ms: number;
  /** Processor time of all threads. */
  readonly cpuMs: number;
}
interface Contender {
  readonly name: string;
  readonly run: () => Promise<Step>;
  readonly steps: Step[];
}

const contenders: Contender[] = [];
const channelBlock = await nativeChannelBlock();
const own = await prepare(channelBlock);
contenders.push({ name: channelBlock ? `clip-gen, blocks of ${channelBlock}` : 'clip-gen', run: own.run, steps: [] });
const asked = {
  threads: THREADS,
  batch: BATCH,
  config: {
    image_size: CONFIG.imageSize,
    patch: CONFIG.patchSize,
    channels: CONFIG.channels,
    multipliers: CONFIG.multipliers,
    encoder_blocks: CONFIG.blocks,
    decoder_blocks: CONFIG.blocks + 1,
    attention_resolutions: CONFIG.attentionSides,
    norm_groups: CONFIG.groups,
    codebook_size: CONFIG.codebookSize,
    codebook_dim: CONFIG.codeSize,
  },
};
const peers: Awaited<ReturnType<typeof startTorch>>[] = [];
for (const waiting of ['passive', 'default'] satisfies OmpWaiting[]) {
  const peer = await startTorch('vqgan-step.py', asked, waiting);
  if (!peer) break;
  peers.push(peer);
  if (peer.hello['parameters'] !== own.parameters) {
    throw new Error(
      `the models differ: ${own.parameters} parameters here, ${String(peer.hello['parameters'])} in PyTorch`,
    );
  }
  for (const layout of ['contiguous', 'channels_last']) {
    contenders.push({ name: `torch, ${layout}, ${waiting} waits`, run: () => peer.ask<Step>({ layout }), steps: [] });
  }
}
for (let round = 0; round < WARMUP_ROUNDS + ROUNDS; round++) {
  for (const { run, steps } of contenders) {
    const step = await run();
    if (round >= WARMUP_ROUNDS) steps.push(step);
  }
}
await own.close();
for (const peer of peers) peer?.close();

const sorted = (values: readonly number[]): number[] => values.toSorted((a, b) => a - b);
const median = (values: readonly number[]): number => sorted(values)[Math.floor(values.length / 2)]!;
console.log(
  `VQGAN step, ${(own.parameters / 1e6).toFixed(1)}M parameters, batch ${BATCH}, ${THREADS} threads` +
    `${peers[0] ? `, torch ${String(peers[0].hello['torch'])}` : ''}; milliseconds of ${ROUNDS} rounds`,
);
console.log(`${''.padEnd(38)}    median      best  CPU median  CPU best`);
const rows = contenders.map(({ name, steps }) => {
  const [wall, cpu] = [steps.map((step) => step.ms), steps.map((step) => step.cpuMs)];
  const figures = [median(wall), sorted(wall)[0]!, median(cpu), sorted(cpu)[0]!];
  console.log(name.padEnd(38) + figures.map((ms, i) => ms.toFixed(0).padStart(i === 2 ? 12 : 10)).join(''));
  return figures;
});
const [ours, ...theirs] = rows;
if (theirs.length > 0) {
  const ratios = ours!.map((ms, i) => ms / Math.min(...theirs.map((row) => row[i]!)));
  console.log(
    'ratio to the peer’s best'.padEnd(38) + ratios.map((r, i) => r.toFixed(2).padStart(i === 2 ? 12 : 10)).join(''),
  );
}

/** Our step as a session that writes each gradient into a buffer of ours. */
async function prepare(block: 8 | 16 | undefined) {
  const graph = new GraphBuilder('vqgan-step');
  const scope = new Scope(graph);
  const size = CONFIG.imageSize;
  const x = graph.input('images', 'float32', [BATCH, 3, size, size]);
  const quantized = quantize(scope, CONFIG, encodeLatents(scope, CONFIG, x));
  const y = decodeLatents(scope, CONFIG, quantized.codes);
  const loss = add(add(l1(x, y), mse(x, y)), quantized.loss);
  const weights = graph.parameters.map(({ value }) => value);
  const slopes = gradients(loss, weights);
  graph.output('loss', loss);
  const into: Record<string, Tensor> = {};
  graph.parameters.forEach(({ name, value }, i) => {
    graph.output(`gradient.${name}`, slopes[i]!);
    into[`gradient.${name}`] = emptyTensor('float32', value.shape as number[]);
  });
  const session = await createSession(encodeModel(graph, { channelBlock: block }), { spin: true, threads: THREADS });
  const pixels = Float32Array.from({ length: BATCH * 3 * size * size }, (_, i) => Math.sin(i * 0.01 * (1 + (i % 3))));
  const values = initialize(scope.specs, 1);
  const feeds = { ...Object.fromEntries(values), images: tensor('float32', [BATCH, 3, size, size], pixels) };
  return {
    parameters: [...values.values()].reduce((sum, { data }) => sum + data.length, 0),
    async run(): Promise<Step> {
      const [cpu, start] = [process.cpuUsage(), performance.now()];
      await session.run(feeds, { into });
      const ms = performance.now() - start;
      const { user, system } = process.cpuUsage(cpu);
      return { ms, cpuMs: (user + system) / 1e3 };
    },
    close: () => session.close(),
  };
}
