/**
 * Drawing tokens with a cache of keys and values: `TokenSampler` (graph and sampling) beside a tuned loop in PyTorch on
 * the same weights, in turns of a few positions; tokens a second, and how near the time is to reading every weight once.
 * In float32 both must draw the same tokens when they take the likeliest.
 *
 *     CLIP_GEN_PYTHON=/path/to/python3 node --import tsx tools/bench/decode.ts [--config emoji|gpt2-medium|both]
 *         [--bits 8|4] [--batch 1,8] [--steps 48] [--threads 2] [--keep FOLDER] [--memory] [--full] [--quick] [--json FILE]
 *
 * By default gpt2-medium runs its first 48 positions; `--full` takes all 256 and a batch of 32 too. `--bits` quantises our
 * side as `clip-gen quantize` does and runs gpt2-medium at batches of 1, 8, 32 and 64 beside PyTorch in float32. `--keep`
 * leaves the untrained weights in a folder and finds them there the next time. `--memory` tells what a process holds
 * after loading and after drawing, in float32, 8 and 4 bits, and times nothing.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openGptPart, TokenSampler, type TokenEvent } from '@clip-gen/generation';
import { GPT_PRESETS, type GptConfig } from '@clip-gen/gpt';
import { encodeModel, GraphBuilder, reduceSum } from '@clip-gen/graph';
import { BLOCK_FORMATS, type QuantizedBits } from '@clip-gen/quantization';
import { createSession, type Session } from '@clip-gen/runtime';
import { Sampler, tokenUniform } from '@clip-gen/sampling';
import { RandomStream } from '@clip-gen/rng';
import { tensor, type Tensor } from '@clip-gen/tensor';
import { benchOptions, least, machine, median, printTable, saveFigures } from './measure.ts';
import { memoryOf } from './decode-memory.ts';
import { keptGpt } from './random-gpt.ts';
import { startTorch, type OmpWaiting, type TorchPeer } from './torch-peer.ts';

const CONFIGS: Readonly<Record<string, GptConfig>> = {
  emoji: { model: 'gpt', tokens: 64, vocabularySize: 2048, conditionSize: 256, width: 192, layers: 6, heads: 3 },
  'gpt2-medium': GPT_PRESETS['gpt2-medium'],
};
/** Ratio to PyTorch's tokens a second that each batch of gpt2-medium is to reach, by bits of a weight. */
const GOALS: Readonly<Record<number, Readonly<Record<number, number>>>> = {
  32: { 1: 1.1, 8: 2 },
  8: { 1: 3, 8: 3, 32: 3, 64: 3 },
  4: {},
};
const TOP_K = 500;
const VARIANTS = ['sdpa', 'matmul', 'static'] as const;
/** Positions whose tokens are compared. */
const COMPARED = 8;

const options = benchOptions({
  config: { type: 'string', default: 'both' },
  threads: { type: 'string', default: '2' },
  full: { type: 'boolean', default: false },
  bits: { type: 'string', default: '32' },
  batch: { type: 'string' },
  steps: { type: 'string' },
  keep: { type: 'string' },
  memory: { type: 'boolean', default: false },
});
const threads = Number(options.threads);
const bits = Number(options.bits);
if (!(bits in GOALS)) throw new Error(`--bits must be 8, 4 or 32 (float32); got ${options.bits}`);
const quantized = bits !== 32;
const stored = quantized ? `${bits} bits` : 'float32';
const both = quantized ? ['gpt2-medium'] : options.quick ? ['emoji'] : Object.keys(CONFIGS);
const names = options.config === 'both' ? both : [options.config];
const usual = quantized ? (options.quick ? [1, 8] : [1, 8, 32, 64]) : options.full ? [1, 8, 32] : [1, 8];
const batches = options.batch === undefined ? usual : options.batch.split(',').map(Number);

interface Reply {
  readonly ms: readonly number[];
  readonly tokens: readonly number[];
}
/** A way to run the peer: one process for each OpenMP setting, one attention for each request. */
interface Way {
  readonly name: string;
  readonly peer: TorchPeer;
  readonly variant: (typeof VARIANTS)[number];
}

const rows: (readonly [string, number, number, number, number, string, string, string])[] = [];
const figures: Record<string, unknown>[] = [];
const before = machine();
let torch: string | undefined;
for (const name of names) {
  const config = CONFIGS[name];
  if (!config) throw new Error(`--config must be one of ${Object.keys(CONFIGS).join(', ')}, both; got ${name}`);
  const folder = options.keep ? join(options.keep, name) : await mkdtemp(join(tmpdir(), 'clip-gen-bench-'));
  const peers: TorchPeer[] = [];
  try {
    if (options.memory) await benchMemory(name, config, folder);
    else await benchConfig(name, config, folder, peers);
  } finally {
    for (const peer of peers) peer.close();
    if (!options.keep) await rm(folder, { recursive: true, force: true });
  }
}
if (options.memory) process.exit();
const peerName = torch ? `PyTorch ${torch} in float32` : 'no peer';
console.log(`decoding, weights in ${stored}, top-k ${TOP_K}, ${threads} threads; ${before}; ${peerName}`);
const head = ['', 'median ms', 'least ms', 'tokens/s', '× PyTorch', 'goal', 'floor share', 'sampling'];
printTable(
  head,
  rows.map(([title, mid, low, rate, ratio, goal, floor, sampling]) => [
    title,
    mid,
    low,
    rate,
    Number.isNaN(ratio) ? '' : ratio,
    goal,
    floor,
    sampling,
  ]),
);
await saveFigures(options.json, { bench: 'decode', bits, threads, topK: TOP_K, rows: figures });

async function benchConfig(name: string, config: GptConfig, folder: string, peers: TorchPeer[]): Promise<void> {
  const { path, weights } = await keptGpt(folder, config, bits);
  const part = await openGptPart(path);
  const sampler = await TokenSampler.open(part, { threads });
  const outOfCache = weightBytes(config) > 2 ** 27;
  const floor = outOfCache ? await openFloor(options.quick ? 2 ** 28 : 2 ** 30) : undefined;
  try {
    for (const waiting of ['passive', 'default'] as const satisfies readonly OmpWaiting[]) {
      const peer = await startTorch(
        'decode.py',
        { config, weights, threads, bandwidthBytes: floor?.bytes ?? 0 },
        waiting,
      );
      if (!peer) break;
      peers.push(peer);
      torch = String(peer.hello['torch']);
    }
    const condition = Array.from({ length: config.conditionSize }, (_, i) => Math.cos(i * i));
    const unit = condition.map((value) => value / Math.hypot(...condition));
    if (!quantized) await checkTokens(sampler, peers[0], unit);
    const ways = peers.flatMap((peer, i) =>
      VARIANTS.map((variant) => ({ name: `${variant}, OpenMP ${i === 0 ? 'passive' : 'default'}`, peer, variant })),
    );
    for (const batch of batches) {
      const way = await bestWay(ways, batch, unit);
      const { own, theirs, bytesPerSecond } = await turns(sampler, way, floor, batch, unit);
      const mid = median(own);
      const floorMs = bytesPerSecond ? (weightBytes(config) / bytesPerSecond) * 1e3 : NaN;
      const ratio = theirs.length > 0 ? median(theirs) / mid : NaN;
      const share = Number.isNaN(floorMs) ? '' : `${((100 * floorMs) / mid).toFixed(0)} % of ${floorMs.toFixed(1)} ms`;
      const goal = name === 'gpt2-medium' && GOALS[bits]![batch] ? `≥ ${GOALS[bits]![batch]}` : '';
      const sampling = `${((100 * samplingMs(config.vocabularySize, batch)) / mid).toFixed(1)} %`;
      const title = `${name} B=${batch} clip-gen, ${stored}`;
      rows.push([title, mid, least(own), (1e3 * batch) / mid, ratio, goal, share, sampling]);
      figures.push({
        config: name,
        batch,
        medianMs: mid,
        leastMs: least(own),
        steps: own.length,
        ratio,
        floorMs,
        sampling,
      });
      if (!way) continue;
      const peerMs = median(theirs);
      rows.push([`${name} B=${batch} ${way.name}`, peerMs, least(theirs), (1e3 * batch) / peerMs, 1, '', '', '']);
      figures.push({ config: name, batch, peer: way.name, medianMs: peerMs, leastMs: least(theirs) });
    }
  } finally {
    await sampler.close();
    await floor?.session.close();
  }
}

/** What one process of its own holds for each way to store the weights. */
async function benchMemory(name: string, config: GptConfig, folder: string): Promise<void> {
  const MiB = (bytes: number): string => (bytes / 2 ** 20).toFixed(0);
  const lines: string[][] = [];
  for (const each of [32, 8, 4] as const) {
    const { path } = await keptGpt(folder, config, each);
    const { loaded, drawn, fileBytes } = await memoryOf(path, batches[0]!);
    const title = `${name}, ${each === 32 ? 'float32' : `${each} bits`}, B=${batches[0]}`;
    lines.push([
      title,
      MiB(fileBytes),
      MiB(loaded.peak),
      MiB(loaded.own),
      MiB(loaded.mapped),
      MiB(drawn.peak),
      MiB(drawn.own),
      MiB(drawn.mapped),
    ]);
    figures.push({ config: name, bits: each, batch: batches[0], fileBytes, loaded, drawn });
  }
  printTable(['MiB', 'file', 'loading: peak', 'own', 'mapped', 'drawing: peak', 'own', 'mapped'], lines);
  await saveFigures(options.json, { bench: 'decode', memory: figures });
}

/**
 * Ours and the peer's by turns, some positions at a time, and what the memory gives at each turn: milliseconds of each
 * step, of those after the first turn.
 */
async function turns(
  sampler: TokenSampler,
  way: Way | undefined,
  floor: Floor | undefined,
  batch: number,
  condition: readonly number[],
) {
  const { config } = sampler.part;
  const small = config.tokens <= 64;
  // A small model's weights stay in the processor's cache from step to step: whole grids, not to chill it at each turn.
  const length = small ? config.tokens : 8;
  const budgetMs = options.full ? 600_000 : options.quick ? 3_000 : 15_000;
  const asked = options.steps === undefined ? 48 : Number(options.steps);
  const positions = small || options.full ? config.tokens : Math.min(config.tokens, asked);
  const grids = small ? (options.quick ? 3 : 12) : 1;
  const own: number[] = [];
  const theirs: number[] = [];
  const bandwidths: number[] = [];
  const theirBandwidths: number[] = [];
  const start = performance.now();
  for (let grid = 0; grid < grids && (grid < 2 || performance.now() - start < budgetMs); grid++) {
    const steps = ownSteps(sampler, batch, condition, TOP_K, grid);
    for (let position = 0; position < positions; position += length) {
      if (floor) {
        bandwidths.push(await readBandwidth(floor));
        const read = await way?.peer.ask<{ readonly bytesPerSecond: number }>({ bandwidth: true });
        if (read) theirBandwidths.push(read.bytesPerSecond);
      }
      const times = await take(steps, length);
      const reply = await way?.peer.ask<Reply>({
        batch,
        position,
        steps: length,
        variant: way.variant,
        topK: TOP_K,
        condition,
      });
      const warm = small ? grid > 0 : position > 0;
      if (warm) {
        own.push(...times.map(({ ms }) => ms));
        theirs.push(...(reply?.ms ?? []));
      }
      if (!small && position > 0 && performance.now() - start > budgetMs) break;
    }
    await steps.return(undefined);
  }
  const medians = [bandwidths, theirBandwidths].map((each) => (each.length > 0 ? median(each) : 0));
  return { own, theirs, bytesPerSecond: Math.max(...medians) };
}

/** The peer's fastest way at this batch, by a few steps each; one that is slow at once is not tried again. */
async function bestWay(ways: readonly Way[], batch: number, condition: readonly number[]): Promise<Way | undefined> {
  let best: { readonly way: Way; readonly ms: number } | undefined;
  for (const way of ways) {
    const ask = (position: number, steps: number): Promise<Reply> =>
      way.peer.ask<Reply>({ batch, position, steps, variant: way.variant, topK: TOP_K, condition });
    const first = await ask(0, 2);
    if (best && Math.min(...first.ms) > 1.5 * best.ms) continue;
    const ms = median((await ask(2, 4)).ms);
    if (!best || ms < best.ms) best = { way, ms };
  }
  return best?.way;
}

interface OwnStep {
  readonly ms: number;
  readonly token: number;
}

/**
 * One step of `TokenSampler` for each value: its time from the first row asked for to the last drawn. More rows than a
 * sampler takes at once are drawn in its own turns, here side by side, position by position.
 */
async function* ownSteps(
  sampler: TokenSampler,
  batch: number,
  condition: readonly number[],
  topK: number,
  seed: number,
): AsyncGenerator<OwnStep, void, undefined> {
  const together = sampler.candidatesTogether(batch);
  const groups = Array.from({ length: Math.ceil(batch / together) }, (_, group) => {
    const candidates = Math.min(together, batch - group * together);
    const request = { seed, candidates, firstCandidate: group * together, temperature: 1, topK };
    return { candidates, events: sampler.sample(Float32Array.from(condition), request) };
  });
  for (;;) {
    const start = performance.now();
    let token = -1;
    for (const { candidates, events } of groups) {
      for (let row = 0; row < candidates; row++) {
        const event: IteratorResult<TokenEvent, void> = await events.next();
        if (event.done) return;
        if (event.value.candidate === 0) token = event.value.token;
      }
    }
    yield { ms: performance.now() - start, token };
  }
}

/** Milliseconds that drawing a token for each of `batch` rows takes, of rows N(0, 2²). */
function samplingMs(vocabularySize: number, batch: number): number {
  const random = new RandomStream(1);
  const rows = Array.from({ length: 8 }, () =>
    Float32Array.from({ length: vocabularySize }, () => random.normal() * 2),
  );
  const sampler = new Sampler(vocabularySize);
  const request = { temperature: 1, topK: Math.min(TOP_K, vocabularySize) };
  const times = Array.from({ length: 300 }, (_, i) => {
    const start = performance.now();
    sampler.sampleRow(rows[i % rows.length]!, request, tokenUniform(1, 0, i));
    return performance.now() - start;
  });
  return batch * median(times.slice(100));
}

async function take(steps: AsyncGenerator<OwnStep, void, undefined>, count: number): Promise<OwnStep[]> {
  const taken: OwnStep[] = [];
  while (taken.length < count) {
    const step = await steps.next();
    if (step.done) break;
    taken.push(step.value);
  }
  return taken;
}

/** @throws when the two sides draw different tokens though both take the likeliest */
async function checkTokens(sampler: TokenSampler, peer: TorchPeer | undefined, condition: readonly number[]) {
  const steps = ownSteps(sampler, 1, condition, 1, 0);
  const own = (await take(steps, COMPARED)).map(({ token }) => token);
  await steps.return(undefined);
  const request = { batch: 1, position: 0, steps: COMPARED, variant: 'sdpa', topK: 1, condition };
  const reply = await peer?.ask<Reply>(request);
  if (reply && reply.tokens.join() !== own.join()) {
    throw new Error(`the likeliest tokens must be the same: clip-gen ${own.join()}, PyTorch ${reply.tokens.join()}`);
  }
}

/** Bytes that one step must read: every weight but the embeddings, of which it takes a row. */
function weightBytes({ layers, width, vocabularySize }: GptConfig): number {
  const matrices = layers * 12 * width * width + width * vocabularySize;
  const vectors = layers * 13 * width + vocabularySize;
  const format = quantized ? BLOCK_FORMATS[bits as QuantizedBits] : undefined;
  return 4 * vectors + matrices * (format ? format.bits / 8 + 4 / format.blockSize : 4);
}

interface Floor {
  readonly bytes: number;
  readonly session: Session;
  readonly values: Tensor;
}

/** A sum over many floats by ONNX Runtime. The caller closes its session. */
async function openFloor(bytes: number): Promise<Floor> {
  const graph = new GraphBuilder('sum');
  const columns = 2 ** 16;
  const count = bytes / 4;
  const x = graph.input('x', 'float32', [count / columns, columns]);
  graph.output('sum', reduceSum(x, [1]));
  const session = await createSession(encodeModel(graph), { threads });
  return { bytes, session, values: tensor('float32', [count / columns, columns], new Float32Array(count).fill(1)) };
}

/** Bytes a second that ONNX Runtime sums, the better of two. */
async function readBandwidth({ bytes, session, values }: Floor): Promise<number> {
  let best = Infinity;
  for (let i = 0; i < 2; i++) {
    const start = performance.now();
    await session.run({ x: values });
    best = Math.min(best, performance.now() - start);
  }
  return (bytes / best) * 1e3;
}
