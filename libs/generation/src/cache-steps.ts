import { createHash } from 'node:crypto';
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { ClipGenError } from '@clip-gen/errors';
import { cacheNames, decodeStepGraph, type CacheSteps, type GptConfig } from '@clip-gen/gpt';
import { RandomStream } from '@clip-gen/rng';
import { openSafetensors, writeSafetensors } from '@clip-gen/safetensors';
import { Sampler, tokenUniform } from '@clip-gen/sampling';
import { tensor, type Tensor } from '@clip-gen/tensor';
import { createPartSession, WEIGHTS_FILE, type EngineOptions } from './model-part.ts';
import type { GptPart } from './model-parts.ts';
import type { CallOptions } from './network.ts';
import { SUPPORT_FILE, SupportMemory } from './support-memory.ts';
import { DecodingBatch } from './token-sampler-batch.ts';

/** Of a GPT's folder, beside its weights; optional: keys and values are then kept in 8 bits. */
export const CACHE_FILE = 'cache.safetensors';
/** Grids that are drawn to see how large keys and values become. */
const GRIDS = 16;
/** What there is room for, of the largest seen: past it a value is cut off, which costs far more than coarser steps do. */
const RESERVE = 2.5;
/** Largest integer of 8 bits on both sides of zero. */
const LARGEST = 127;
/** For a channel that is never anything but zero. */
const LEAST_RANGE = 1e-6;

/** Of the file: which weights the steps were measured with. */
const WEIGHTS_KEY = 'weights';
/** Tensors of at most so many bytes tell weights apart: biases and norms, which every step of a training moves. */
const TELLTALE_BYTES = 65536;

/** How {@link measureCacheSteps} works. */
export interface MeasureOptions extends CallOptions {
  /** Called after every position, of so many. */
  readonly note?: (done: number, total: number) => void;
}

/**
 * Steps in which keys and values of a transformer can be kept in 8 bits: draws 16 grids, of conditions in all directions
 * and of none, and takes the largest of each channel 2.5 times for 127 steps. The same part gives the same steps. Holds 16
 * caches in float32 meanwhile, 0.8 GB at the released size.
 *
 * @throws what opening the support memory throws; cancelled
 */
export async function measureCacheSteps(
  part: GptPart,
  engine: EngineOptions = {},
  { signal, note }: MeasureOptions = {},
): Promise<Map<string, Float32Array>> {
  const { config } = part;
  const { tokens, conditionSize, vocabularySize } = config;
  const support = await SupportMemory.open(join(part.folder, SUPPORT_FILE), conditionSize);
  const session = await createPartSession(part, decodeStepGraph(config, { room: 'P' }).graph, engine);
  try {
    const batch = new DecodingBatch(session, config, GRIDS, 'float32');
    const random = new RandomStream(1);
    for (let row = 1; row < GRIDS; row++) {
      const direction = Float32Array.from({ length: conditionSize }, () => random.normal());
      const length = Math.hypot(...direction);
      const unit = direction.map((value) => value / length);
      batch.conditions.set(support ? await support.project(unit, signal) : unit, row * conditionSize);
    }
    const sampler = new Sampler(vocabularySize);
    for (let position = 0; position < tokens; position++) {
      await batch.step({ ...(signal && { signal }) });
      for (let row = 0; row < GRIDS; row++) {
        const uniform = tokenUniform(1, row, position);
        batch.tokens[row] = sampler.sampleRow(batch.logits(row), { temperature: 1 }, uniform);
      }
      note?.(position + 1, tokens);
    }
    const steps = (data: Tensor): Float32Array =>
      largestOfChannels(data as Tensor<'float32'>).map((most) => (RESERVE * Math.max(most, LEAST_RANGE)) / LARGEST);
    return new Map([...batch.cache].map(([name, data]) => [name, steps(data)]));
  } finally {
    await session.close();
  }
}

/** The largest absolute value of each channel of keys or values (B, H, P, D): (H·D). */
function largestOfChannels({ data, shape }: Tensor<'float32'>): Float32Array {
  const [rows, heads, room, width] = shape as [number, number, number, number];
  const largest = new Float32Array(heads * width);
  for (let row = 0, at = 0; row < rows; row++) {
    for (let head = 0; head < heads; head++) {
      for (let position = 0; position < room; position++) {
        for (let i = head * width; i < (head + 1) * width; i++) {
          const size = Math.abs(data[at++]!);
          if (size > largest[i]!) largest[i] = size;
        }
      }
    }
  }
  return largest;
}

/** Writes {@link CACHE_FILE} of a GPT's folder, for the weights that are in it. */
export async function writeCacheSteps(folder: string, steps: CacheSteps): Promise<void> {
  const tensors = [...steps].map(([name, data]) => [name, tensor('float32', [data.length], data.slice())] as const);
  await writeSafetensors(join(folder, CACHE_FILE), tensors, { [WEIGHTS_KEY]: await fingerprint(folder) });
}

/** SHA-256 of the small tensors of a folder's weights, lower-case hex. */
async function fingerprint(folder: string): Promise<string> {
  const file = await openSafetensors(join(folder, WEIGHTS_FILE));
  try {
    const hash = createHash('sha256');
    for (const name of [...file.entries.keys()].sort()) {
      if (file.entries.get(name)!.byteLength > TELLTALE_BYTES) continue;
      const { data } = await file.read(name);
      hash.update(`${name}\n`).update(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
    }
    return hash.digest('hex');
  } finally {
    await file.close();
  }
}

/**
 * Reads {@link CACHE_FILE} of a GPT's folder; nothing when there is none.
 *
 * @throws data_corrupt, naming the file, for anything but float32 (W) of positive numbers for each tensor of the cache, and
 * where they were measured with other weights than those in the folder
 */
export async function openCacheSteps(folder: string, config: GptConfig): Promise<CacheSteps | undefined> {
  const path = join(folder, CACHE_FILE);
  if ((await stat(path).catch(() => undefined)) === undefined) return undefined;
  const file = await openSafetensors(path);
  try {
    const steps = new Map<string, Float32Array>();
    for (const name of cacheNames(config)) {
      const entry = file.entries.get(name);
      if (entry?.dtype !== 'float32' || entry.shape.length !== 1 || entry.shape[0] !== config.width) {
        const got = entry ? `${entry.dtype} [${entry.shape.join(', ')}]` : 'none';
        throw corrupt(`${path} must hold ${name} of float32 [${config.width}]; got ${got}`);
      }
      const data = (await file.read(name)).data as Float32Array;
      const bad = data.find((step) => !(step > 0 && step < Infinity));
      if (bad !== undefined) throw corrupt(`${path}: ${name} must be of positive numbers; got ${bad}`);
      steps.set(name, data);
    }
    if (file.entries.size !== steps.size) {
      throw corrupt(`${path} must hold the ${steps.size} tensors of its transformer's cache; got ${file.entries.size}`);
    }
    if (file.metadata.get(WEIGHTS_KEY) !== (await fingerprint(folder))) {
      throw corrupt(`${path} was measured with other weights than the ${WEIGHTS_FILE} beside it`);
    }
    return steps;
  } finally {
    await file.close();
  }
}

function corrupt(message: string): ClipGenError {
  return new ClipGenError('data_corrupt', `${message}; quantise the model anew, or leave the file out`);
}
