/**
 * One prompt and one picture through CLIP's towers as they are served beside the same model in PyTorch under either
 * OpenMP setting: the same weights and inputs, rounds interleaved; the embeddings must agree.
 *
 *     CLIP_GEN_PYTHON=/path/to/python3 node --import tsx tools/bench/clip.ts [--config vit-b-32|vit-64] [--threads 2]
 *         [--rounds 15] [--quick] [--json FILE]
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  CLIP_PRESETS,
  clipConfigSchema,
  encodeImage,
  encodeText,
  normalizeRows,
  type ClipConfig,
} from '@clip-gen/clip';
import { clipParameters } from '@clip-gen/generation';
import { encodeModel, GraphBuilder, type Value } from '@clip-gen/graph';
import { initialize, Scope } from '@clip-gen/nn';
import { createSession, type Session } from '@clip-gen/runtime';
import { openSafetensors, writeSafetensors } from '@clip-gen/safetensors';
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
  type Contender,
} from './measure.ts';
import { startTorch, type OmpWaiting, type TorchPeer } from './torch-peer.ts';

/** Of the largest element of an embedding. */
const AGREEMENT = 1e-4;

const options = benchOptions({
  config: { type: 'string', default: 'vit-b-32' },
  threads: { type: 'string', default: '2' },
  rounds: { type: 'string', default: '15' },
});
const presets: Readonly<Record<string, ClipConfig>> = CLIP_PRESETS;
const name = options.quick ? 'vit-64' : options.config;
if (!(name in presets)) throw new Error(`--config must be one of ${Object.keys(presets).join(', ')}; got ${name}`);
const config = clipConfigSchema.parse(presets[name]);
const threads = Number(options.threads);
const { warmup, rounds } = options.quick ? { warmup: 1, rounds: 2 } : { warmup: 3, rounds: Number(options.rounds) };

type Tower = 'text' | 'image';
const TOWERS: readonly Tower[] = ['text', 'image'];
interface Answer {
  readonly ms: number;
  readonly embedding: ArrayLike<number>;
}

const folder = await mkdtemp(join(tmpdir(), 'clip-gen-bench-'));
const peers: TorchPeer[] = [];
const sessions: Session[] = [];
try {
  const inputs = exampleInputs(config);
  const weights = join(folder, 'model.safetensors');
  const made = [...initialize(clipParameters(config), 1)];
  await writeSafetensors(weights, [...made, ['tokens', inputs.text], ['pixels', inputs.image]]);
  const answers = new Map<Contender, Answer>();
  const answering = (title: string, ask: () => Promise<Answer>): Contender => {
    const timed = contender(title, async () => {
      const answer = await ask();
      answers.set(timed, answer);
      return answer.ms;
    });
    return timed;
  };
  const own: Contender[] = [];
  for (const tower of TOWERS) {
    const session = await createSession(await towerModel(tower), { threads, externalDataFolder: folder });
    sessions.push(session);
    own.push(
      answering(`${tower}: clip-gen`, async () => {
        const start = performance.now();
        const { embedding } = await session.run({ input: inputs[tower] });
        return { ms: performance.now() - start, embedding: embedding!.data as Float32Array };
      }),
    );
  }
  const others: Contender[][] = [[], []];
  for (const waiting of ['passive', 'default'] as const satisfies readonly OmpWaiting[]) {
    const peer = await startTorch('clip.py', { config, weights, threads }, waiting);
    if (!peer) break;
    peers.push(peer);
    TOWERS.forEach((tower, i) =>
      others[i]!.push(answering(`${tower}: PyTorch, OpenMP ${waiting}`, () => peer.ask<Answer>({ tower }))),
    );
  }
  await interleave([...own, ...others.flat()], { warmup, rounds });

  console.log(`CLIP ${name}, one item, ${threads} threads`);
  console.log(`${machine()}; ${peers[0] ? `PyTorch ${String(peers[0].hello['torch'])}` : 'no peer'}`);
  const row = ({ name: title, times }: Contender) => ({ name: title, medianMs: median(times), leastMs: least(times) });
  const rows = TOWERS.map((_, i) => [own[i]!, ...others[i]!].map(row));
  printTable(
    ['', 'median ms', 'least ms'],
    rows.flat().map((figures) => [figures.name, figures.medianMs, figures.leastMs]),
  );
  const agreement: Partial<Record<Tower, number>> = {};
  TOWERS.forEach((tower, i) => {
    const [ours, ...theirs] = rows[i]!;
    if (theirs.length === 0) return;
    const ratio = (of: (figures: { medianMs: number; leastMs: number }) => number): string =>
      (of(ours!) / Math.min(...theirs.map(of))).toFixed(3);
    const [a, b] = [answers.get(own[i]!)!.embedding, answers.get(others[i]![0]!)!.embedding];
    agreement[tower] = distance(a, b);
    console.log(
      `${tower}: time beside the peer's best ${ratio((figures) => figures.medianMs)} (of the least times ` +
        `${ratio((figures) => figures.leastMs)}); embeddings agree to ${agreement[tower].toExponential(1)}`,
    );
  });
  await saveFigures(options.json, { bench: 'clip', config: name, threads, rounds, contenders: rows.flat(), agreement });
  for (const [tower, apart] of Object.entries(agreement)) {
    if (!(apart < AGREEMENT))
      throw new Error(`${tower} embeddings must agree to ${AGREEMENT}; they differ by ${apart}`);
  }
} finally {
  for (const peer of peers) peer.close();
  for (const session of sessions) await session.close();
  await rm(folder, { recursive: true, force: true });
}

/** A tower as the encoders of libs/generation serve it, its weights in the file. */
async function towerModel(tower: Tower): Promise<Uint8Array> {
  const graph = new GraphBuilder(tower);
  const scope = new Scope(graph);
  const { contextLength } = config.text;
  const side = config.vision.imageSize;
  const features: Value =
    tower === 'text'
      ? encodeText(scope, config, graph.input('input', 'int64', ['B', contextLength]))
      : encodeImage(scope, config, graph.input('input', 'float32', ['B', 3, side, side]));
  graph.output('embedding', normalizeRows(features));
  const file = await openSafetensors(join(folder, 'model.safetensors'));
  await file.close();
  return encodeModel(graph, {
    parameters: (parameter) => {
      const { byteOffset, byteLength } = file.entries.get(parameter)!;
      return { file: 'model.safetensors', byteOffset, byteLength };
    },
  });
}

/** A prompt that fills the context, ended by the largest id, and waves. */
function exampleInputs({ text, vision }: ClipConfig): Readonly<Record<Tower, Tensor>> {
  const { contextLength, vocabularySize } = text;
  const ids = BigInt64Array.from({ length: contextLength }, (_, i) => BigInt((i * 7919) % (vocabularySize - 1)));
  ids[contextLength - 1] = BigInt(vocabularySize - 1);
  const shape = [1, 3, vision.imageSize, vision.imageSize];
  const pixels = Float32Array.from({ length: 3 * vision.imageSize ** 2 }, (_, i) => Math.sin(i * 0.01 * (1 + (i % 3))));
  return { text: tensor('int64', [1, contextLength], ids), image: tensor('float32', shape, pixels) };
}

function distance(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let [worst, largest] = [0, 0];
  for (let i = 0; i < b.length; i++) {
    worst = Math.max(worst, Math.abs(a[i]! - b[i]!));
    largest = Math.max(largest, Math.abs(b[i]!));
  }
  return a.length === b.length ? worst / largest : Infinity;
}
