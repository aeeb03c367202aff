/**
 * A picture by the VQGAN decoder in blocks, as large pictures are served, beside the same graph of standard operators,
 * as small ones are, and PyTorch in either memory layout and under either OpenMP setting: the same weights and tokens,
 * rounds interleaved; the pixels must agree. Counts the arithmetic of the convolutions, tap by tap and as it is done, and
 * measures the machine's best matrix product in the same rounds: what they take at its rate is the floor. A process of
 * its own, which opens the model and decodes a picture as `generate` does, tells the memory.
 *
 *     CLIP_GEN_PYTHON=/path/to/python3 node --import tsx tools/bench/decoder.ts [--config vqgan-f16-16384|vqgan-f8-2048]
 *         [--size PIXELS] [--threads 2] [--rounds 7] [--profile PREFIX] [--quick] [--json FILE]
 */
import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { encodeModel, GraphBuilder, matMul, staticShape } from '@clip-gen/graph';
import {
  createPartSession,
  createPreparedSession,
  openVqganPart,
  PictureDecoder,
  pictureDecoderGraph,
  vqganParameters,
} from '@clip-gen/generation';
import { initialize } from '@clip-gen/nn';
import { createSession, nativeChannelBlock, type Session, type SessionOptions } from '@clip-gen/runtime';
import { openSafetensors, writeSafetensors } from '@clip-gen/safetensors';
import { emptyTensor, tensor, type Tensor } from '@clip-gen/tensor';
import { decodesInBlocks, gridSide, VQGAN_PRESETS, vqganConfigSchema, type VqganConfig } from '@clip-gen/vqgan';
import { benchOptions, contender, interleave, least, machine, median, printTable, saveFigures } from './measure.ts';
import { startTorch, type OmpWaiting, type TorchPeer } from './torch-peer.ts';

/** Of the largest pixel: all sides compute in float32 and add up in different orders. */
const AGREEMENT = 1e-4;
/** Rows and columns of the matrix product that stands for the machine. */
const PRODUCT_SIDE = 1536;

const options = benchOptions({
  config: { type: 'string', default: 'vqgan-f16-16384' },
  size: { type: 'string' },
  threads: { type: 'string', default: '2' },
  rounds: { type: 'string', default: '7' },
  profile: { type: 'string' },
  once: { type: 'string' },
});
const threads = Number(options.threads);
if (options.once === undefined) await compare();
else await decodeOnce(options.once);

/** Channels of a block, where maps are in blocks. */
type Block = 8 | 16 | undefined;

/** What a process that decodes one picture needs. */
interface Once {
  readonly loadMs: number;
  readonly firstMs: number;
  readonly peakMB: number;
}

async function decodeOnce(folder: string): Promise<void> {
  const start = performance.now();
  const decoder = await PictureDecoder.open(await openVqganPart(folder), { threads });
  const loaded = performance.now();
  await decoder.decode(exampleTokens(decoder.part.config));
  const firstMs = performance.now() - loaded;
  const once: Once = { loadMs: loaded - start, firstMs, peakMB: process.resourceUsage().maxRSS / 1024 };
  console.log(JSON.stringify(once));
  await decoder.close();
}

async function compare(): Promise<void> {
  const presets: Readonly<Record<string, unknown>> = VQGAN_PRESETS;
  if (!(options.config in presets)) {
    throw new Error(`--config must be one of ${Object.keys(presets).join(', ')}; got ${options.config}`);
  }
  const preset = vqganConfigSchema.parse(presets[options.config]);
  const imageSize = Number(options.size ?? (options.quick ? preset.imageSize / 4 : preset.imageSize));
  const config: VqganConfig = { ...preset, imageSize };
  const { warmup, rounds } = options.quick ? { warmup: 1, rounds: 2 } : { warmup: 2, rounds: Number(options.rounds) };

  const folder = await mkdtemp(join(tmpdir(), 'clip-gen-bench-'));
  const peers: TorchPeer[] = [];
  const sessions: Session[] = [];
  try {
    const ids = exampleTokens(config);
    const tokens = tensor('int64', [1, ids.length], BigInt64Array.from(ids, BigInt));
    const weights = join(folder, 'model.safetensors');
    await writeFile(join(folder, 'config.json'), JSON.stringify(config));
    await writeSafetensors(weights, initialize(vqganParameters(config), 1));
    const once = await decodingProcess(folder);

    const block = await nativeChannelBlock();
    const part = await openVqganPart(folder);
    const open = async (block: Block, session: Pick<SessionOptions, 'profilePrefix'> = {}): Promise<Session> => {
      const { graph } = pictureDecoderGraph(config, block);
      const create = block ? createPreparedSession : createPartSession;
      const opened = await create(part, graph, { threads }, { ...session, memoryPattern: false });
      sessions.push(opened);
      return opened;
    };
    const product = await matrixProduct();
    sessions.push(product.session);
    const inBlocks = block !== undefined && decodesInBlocks(config, block) ? block : undefined;
    const profile = options.profile === undefined ? {} : { profilePrefix: options.profile };
    const served = await open(inBlocks, profile);
    const standard = await open(undefined);
    const pixels = new Map<string, ArrayLike<number>>();
    const decoding = (name: string, session: Session) =>
      contender(name, async () => {
        const start = performance.now();
        const results = await session.run({ tokens });
        const ms = performance.now() - start;
        pixels.set(name, results['pixels']!.data as Float32Array);
        return ms;
      });
    const own = [
      decoding(inBlocks ? `clip-gen, blocks of ${inBlocks}` : 'clip-gen', served),
      decoding('clip-gen, standard operators', standard),
    ];

    const others: ReturnType<typeof contender>[] = [];
    const peerWeights = join(folder, 'peer.safetensors');
    await writeSafetensors(peerWeights, [...(await decoderWeights(weights)), ['tokens', tokens]]);
    for (const waiting of ['passive', 'default'] as const satisfies readonly OmpWaiting[]) {
      const peer = await startTorch('decoder.py', { config, weights: peerWeights, threads }, waiting);
      if (!peer) break;
      peers.push(peer);
      for (const layout of ['contiguous', 'channels_last']) {
        const name = `PyTorch ${layout}, OpenMP ${waiting}`;
        const path = join(folder, `${layout}-${waiting}.f32`);
        const { ms } = await peer.ask<{ ms: number }>({ layout, pixels: path });
        if (ms > 0) pixels.set(name, new Float32Array((await readFile(path)).buffer.slice(0)));
        others.push(
          contender(name, async () => (await peer.ask<{ readonly ms: number }>({ layout, pixels: null })).ms),
        );
      }
    }
    await interleave([...own, ...others, product.contender], { warmup, rounds });

    const work = convolutionWork(config, inBlocks);
    const direct = convolutionWork(config, undefined);
    const rate = product.flops / least(product.contender.times) / 1e6; // GFLOP/s
    console.log(`VQGAN decoder, ${options.config}, ${imageSize}×${imageSize} pixels, ${threads} threads`);
    console.log(`${machine()}; ${peers[0] ? `PyTorch ${String(peers[0].hello['torch'])}` : 'no peer'}`);
    const rows = [...own, ...others].map(({ name, times }) => ({
      name,
      medianMs: median(times),
      leastMs: least(times),
    }));
    printTable(
      ['', 'median ms', 'least ms'],
      rows.map(({ name, ...figures }) => [name, ...Object.values(figures)]),
    );
    const floor = (flops: number): string =>
      `${(flops / 1e9).toPrecision(3)} GFLOP, ${(flops / rate / 1e6).toPrecision(3)} ms`;
    console.log(
      `convolutions: tap by tap ${floor(direct)}, in blocks ${floor(work)} at the ${rate.toFixed(0)} GFLOP/s of the best ` +
        `${PRODUCT_SIDE}³ matrix product of these rounds`,
    );
    console.log(
      `a process of its own: ${once.loadMs.toFixed(0)} ms to load, ${once.firstMs.toFixed(0)} ms for the first picture, ` +
        `${once.peakMB.toFixed(0)} MB at most`,
    );
    const [ours, plain, ...theirs] = rows;
    const ratio = (of: (row: (typeof rows)[number]) => number, against: typeof rows): string =>
      (of(ours!) / Math.min(...against.map(of))).toFixed(3);
    console.log(`time beside standard operators: ${ratio((row) => row.medianMs, [plain!])}`);
    if (theirs.length > 0) {
      console.log(
        `time beside the peer's best: ${ratio((row) => row.medianMs, theirs)} ` +
          `(of the least times ${ratio((row) => row.leastMs, theirs)})`,
      );
    }
    const reference = pixels.get(others[0]?.name ?? own[1]!.name)!;
    const apart = distance(pixels.get(own[0]!.name)!, reference);
    console.log(`pixels agree to ${apart.toExponential(1)} of the largest`);
    await saveFigures(options.json, {
      bench: 'decoder',
      config: options.config,
      imageSize,
      threads,
      rounds,
      contenders: rows,
      gflop: { direct: direct / 1e9, inBlocks: work / 1e9 },
      productGflops: rate,
      once,
      agreement: apart,
    });
    if (!(apart < AGREEMENT)) throw new Error(`pixels must agree to ${AGREEMENT}: the sides do not compute the same`);
  } finally {
    for (const peer of peers) peer.close();
    for (const session of sessions) await session.close();
    await rm(folder, { recursive: true, force: true });
  }
}

/** Floating-point operations of a picture's convolutions, a multiplication and an addition being two. */
function convolutionWork(config: VqganConfig, block: Block): number {
  return pictureDecoderGraph(config, block)
    .graph.nodes.filter(({ op }) => op === 'Conv' || op === 'NchwcConv')
    .reduce((sum, { inputs, outputs }) => {
      const taps = staticShape(inputs[1]!.shape.slice(1), 'convolution').reduce((a, b) => a * b, 1);
      return (
        sum + 2 * taps * outputs[0]!.shape.reduce<number>((all, dim) => all * (typeof dim === 'number' ? dim : 1), 1)
      );
    }, 0);
}

/** A product of two square matrices, one of them constant as weights are. */
async function matrixProduct() {
  const graph = new GraphBuilder('product');
  const shape = [PRODUCT_SIDE, PRODUCT_SIDE];
  const constant = graph.constant(tensor('float32', shape, new Float32Array(PRODUCT_SIDE ** 2).fill(0.5)));
  graph.output('y', matMul(graph.input('x', 'float32', shape), constant));
  const session = await createSession(encodeModel(graph), { threads });
  const [x, y] = [emptyTensor('float32', shape), emptyTensor('float32', shape)];
  const product = contender('product', async () => {
    const start = performance.now();
    await session.run({ x }, { into: { y } });
    return performance.now() - start;
  });
  return { session, contender: product, flops: 2 * PRODUCT_SIDE ** 3 };
}

async function decodingProcess(folder: string): Promise<Once> {
  const script = fileURLToPath(import.meta.url);
  const { stdout } = await promisify(execFile)(process.execPath, [
    ...['--import', 'tsx', script, '--once', folder, '--threads', String(threads)],
  ]);
  return JSON.parse(stdout) as Once;
}

async function decoderWeights(path: string): Promise<[string, Tensor][]> {
  const file = await openSafetensors(path);
  try {
    const names = [...file.entries.keys()].filter((name) => /^(decoder|quantizer)\./.test(name));
    return await Promise.all(names.map(async (name): Promise<[string, Tensor]> => [name, await file.read(name)]));
  } finally {
    await file.close();
  }
}

function exampleTokens(config: VqganConfig): number[] {
  return Array.from({ length: gridSide(config) ** 2 }, (_, i) => (i * 7919) % config.codebookSize);
}

function distance(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let [worst, largest] = [0, 0];
  for (let i = 0; i < b.length; i++) {
    worst = Math.max(worst, Math.abs(a[i]! - b[i]!));
    largest = Math.max(largest, Math.abs(b[i]!));
  }
  return a.length === b.length ? worst / largest : Infinity;
}
