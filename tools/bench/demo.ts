/**
 * The whole released demo: a prompt to the best pictures of many candidates, at the released sizes (ViT-B/32,
 * gpt2-medium, VQGAN f16 of 16384 codes, 256×256), untrained, with top-k 500 and top-p 0.95, in one process. Beside it the
 * released demo's way in PyTorch: no cache of keys and values, every position computed anew for each token. Each side does
 * the work once before it is timed: ours a request of 8 candidates, PyTorch the longest length.
 *
 *     CLIP_GEN_PYTHON=/path/to/python3 node --import tsx tools/bench/demo.ts [--candidates 8] [--pictures 8] [--bits 8]
 *         [--positions 256] [--judged N] [--threads 2] [--keep FOLDER] [--full] [--quick] [--json FILE]
 *
 * The released demo is 64 candidates of which 8 are kept: `--candidates 64`. Ours is timed in full unless `--judged` has
 * only some pictures decoded and judged, or `--positions` only the first tokens drawn; what is left counts as much as what
 * was timed, and the table says so (later tokens cost more: with `--positions` ours looks better than it is). PyTorch is
 * timed for 8 rows at six lengths and, between them, interpolated, which gives the seconds of all 256; more candidates
 * count in proportion. `--full` has it compute every length.
 */
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { existsSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CLIP_PRESETS, clipConfigSchema } from '@clip-gen/clip';
import {
  clipParameters,
  cosine,
  loadModel,
  openClipPart,
  openGptPart,
  openVqganPart,
  vqganParameters,
  type Model,
} from '@clip-gen/generation';
import { GPT_PRESETS } from '@clip-gen/gpt';
import { initialize, type ParameterSpec } from '@clip-gen/nn';
import { writeSafetensors } from '@clip-gen/safetensors';
import { VQGAN_PRESETS, vqganConfigSchema } from '@clip-gen/vqgan';
import { benchOptions, machine, median, printTable, saveFigures } from './measure.ts';
import { keptGpt } from './random-gpt.ts';
import { startTorch, type TorchPeer } from './torch-peer.ts';

const PROMPT = 'a photo of a small red house on a hill';
const TOKENS = 256;
/** Rows of the peer: the pictures of one call of the released demo. */
const PEER_ROWS = 8;
const LENGTHS = [1, 32, 64, 128, 192, 256];

const options = benchOptions({
  candidates: { type: 'string', default: '8' },
  pictures: { type: 'string', default: '8' },
  bits: { type: 'string', default: '8' },
  positions: { type: 'string' },
  judged: { type: 'string' },
  threads: { type: 'string', default: '2' },
  keep: { type: 'string' },
  full: { type: 'boolean', default: false },
});
const threads = Number(options.threads);
const candidates = Number(options.candidates);
const positions = Number(options.positions ?? (options.quick ? 8 : TOKENS));
const judged = Math.min(candidates, Number(options.judged ?? (options.quick ? 1 : candidates)));

/** Seconds of each part of the work, for all candidates. */
interface Seconds {
  readonly text: number;
  readonly tokens: number;
  readonly decode: number;
  readonly judge: number;
}
const sum = ({ text, tokens, decode, judge }: Seconds): number => text + tokens + decode + judge;

const before = machine();
const folder = options.keep ?? (await mkdtemp(join(tmpdir(), 'clip-gen-bench-')));
try {
  const ours = await demo(folder);
  const peer = await startTorch('demo.py', { threads, batch: PEER_ROWS });
  const theirs = peer && (await released(peer).finally(() => peer.close()));
  const parts = [
    positions < TOKENS ? `${positions} of ${TOKENS} positions` : '',
    judged < candidates ? `${judged} of ${candidates} pictures` : '',
  ].filter((part) => part !== '');
  const timed = parts.length > 0 ? `timed: ${parts.join(', ')}` : 'timed in full';
  const way = options.full ? 'every length timed' : `${LENGTHS.length} lengths timed`;
  console.log(`${candidates} candidates, best ${options.pictures}, 256×256; ${before}; ours ${timed}; PyTorch ${way}`);
  const row = (name: string, seconds: Seconds) => [
    name,
    seconds.text,
    seconds.tokens,
    seconds.decode,
    seconds.judge,
    sum(seconds),
    theirs ? sum(theirs) / sum(seconds) : '',
  ];
  const head = ['seconds', 'text', 'tokens', 'pictures', 'judging', 'all', '× released way'];
  printTable(head, [
    row(`clip-gen, ${options.bits === '32' ? 'float32' : `${options.bits} bits`}`, ours),
    ...(peer && theirs ? [row(`PyTorch ${String(peer.hello['torch'])}, no cache`, theirs)] : []),
  ]);
  await saveFigures(options.json, { bench: 'demo', candidates, positions, judged, threads, ours, theirs });
} finally {
  if (!options.keep) await rm(folder, { recursive: true, force: true });
}

/** Ours, phase by phase, as `generate` goes. */
async function demo(folder: string): Promise<Seconds> {
  const clipConfig = clipConfigSchema.parse(CLIP_PRESETS['vit-b-32']);
  const vqganConfig = vqganConfigSchema.parse(VQGAN_PRESETS['vqgan-f16-16384']);
  const gptConfig = GPT_PRESETS['gpt2-medium'];
  const model = await loadModel(
    {
      clip: await openClipPart(await kept(join(folder, 'clip'), clipConfig, clipParameters(clipConfig))),
      vqgan: await openVqganPart(await kept(join(folder, 'vqgan'), vqganConfig, vqganParameters(vqganConfig))),
      gpt: await openGptPart((await keptGpt(join(folder, 'gpt2-medium'), gptConfig, Number(options.bits))).path),
      defaults: {},
    },
    { threads },
  );
  try {
    await once(model, Math.min(candidates, PEER_ROWS), 1); // as the peer: memory that was just taken is slow for seconds
    return await once(model, candidates, judged);
  } finally {
    await model.close();
  }
}

/** One request, of whose pictures the first `judged` are decoded and judged. */
async function once(model: Model, candidates: number, judged: number): Promise<Seconds> {
  const start = performance.now();
  const [embedding] = await model.textEncoder.encode([PROMPT]);
  const encoded = performance.now();

  const grids = Array.from({ length: candidates }, () => new Int32Array(TOKENS));
  const request = { seed: 1, temperature: 1, topK: 500, topP: 0.95 };
  const together = model.tokenSampler.candidatesTogether(candidates);
  for (let firstCandidate = 0; firstCandidate < candidates; firstCandidate += together) {
    const rows = Math.min(together, candidates - firstCandidate);
    let left = rows * positions;
    for await (const event of model.tokenSampler.sample(embedding!, {
      ...request,
      candidates: rows,
      firstCandidate,
    })) {
      grids[event.candidate]![event.position] = event.token;
      if (--left === 0) break;
    }
  }
  const drawn = performance.now();

  let decodeMs = 0;
  let judgeMs = 0;
  const scores: number[] = [];
  for (const grid of grids.slice(0, judged)) {
    const from = performance.now();
    const image = await model.pictureDecoder.decode(grid);
    const decoded = performance.now();
    const [picture] = await model.imageEncoder.encode([image]);
    scores.push(cosine(embedding!, picture!));
    decodeMs += decoded - from;
    judgeMs += performance.now() - decoded;
  }
  if (scores.some((score) => !Number.isFinite(score))) throw new Error('a picture was judged by no number');
  const share = candidates / judged / 1e3;
  return {
    text: (encoded - start) / 1e3,
    tokens: ((drawn - encoded) * TOKENS) / positions / 1e3,
    decode: decodeMs * share,
    judge: judgeMs * share,
  };
}

/** The released way in PyTorch. */
async function released(peer: TorchPeer): Promise<Seconds> {
  const ask = async (request: Readonly<Record<string, unknown>>): Promise<number> =>
    (await peer.ask<{ readonly ms: number }>(request)).ms;
  const thrice = async (request: Readonly<Record<string, unknown>>): Promise<number> => {
    await ask(request);
    return median([await ask(request), await ask(request), await ask(request)]);
  };
  await ask({ length: options.quick ? 8 : TOKENS });
  const measured = options.full ? Array.from({ length: TOKENS }, (_, i) => i + 1) : options.quick ? [1, 16] : LENGTHS;
  const points: (readonly [number, number])[] = [];
  for (const length of measured) points.push([length, await ask({ length })]);
  let tokensMs = 0;
  for (let length = 1; length <= TOKENS; length++) tokensMs += interpolate(points, length);
  const [text, decode, judge] = [
    await thrice({ text: true }),
    await thrice({ decode: true }),
    await thrice({ judge: true }),
  ];
  return {
    text: text / 1e3,
    tokens: (tokensMs * candidates) / PEER_ROWS / 1e3,
    decode: (decode * candidates) / 1e3,
    judge: (judge * candidates) / 1e3,
  };
}

/** The value at x of the lines through some points, which ascend; past the last, the last line goes on. */
function interpolate(points: readonly (readonly [number, number])[], x: number): number {
  const next = points.findIndex(([at]) => at >= x);
  const i = Math.max(1, next < 0 ? points.length - 1 : next);
  const [[x0, y0], [x1, y1]] = [points[i - 1]!, points[i]!];
  return y0 + ((y1 - y0) * (x - x0)) / (x1 - x0);
}

/** An untrained part in a folder; what is there already is taken as it is. */
async function kept(folder: string, config: unknown, parameters: readonly ParameterSpec[]): Promise<string> {
  const path = join(folder, 'model.safetensors');
  if (existsSync(path)) return folder;
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, 'config.json'), JSON.stringify(config));
  await writeSafetensors(path, [...initialize(parameters, 1)]);
  return folder;
}
