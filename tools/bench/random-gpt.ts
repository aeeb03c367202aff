import { existsSync } from 'node:fs';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { CACHE_FILE, measureCacheSteps, openGptPart, writeCacheSteps } from '@clip-gen/generation';
import { decodeStepGraph, type GptConfig } from '@clip-gen/gpt';
import { linearWeights } from '@clip-gen/graph';
import { BLOCK_FORMATS, quantizeWeights, type QuantizedBits } from '@clip-gen/quantization';
import { RandomStream } from '@clip-gen/rng';
import { openSafetensors, writeSafetensors } from '@clip-gen/safetensors';
import { emptyTensor, type Tensor } from '@clip-gen/tensor';

/** Distinct random numbers; larger weights repeat them. */
const TABLE = 1_000_003;

/**
 * Writes `config.json` and `model.safetensors` of an untrained transformer to a folder, fast enough for 1.3 GB: weights
 * N(0, 0.05²) from one table, norms as they start, no biases.
 *
 * @returns the path of the weights
 */
export async function writeRandomGpt(folder: string, config: GptConfig): Promise<string> {
  const random = new RandomStream(1);
  const table = Float32Array.from({ length: TABLE }, () => random.normal() * 0.05);
  const tensors: [string, Tensor][] = decodeStepGraph(config).scope.specs.map(({ name, shape, initializer }) => {
    const weight = emptyTensor('float32', shape);
    if (initializer.kind === 'constant') weight.data.fill(initializer.value);
    else fill(weight.data, table, Math.floor(random.uniform() * TABLE));
    return [name, weight];
  });
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, 'config.json'), JSON.stringify(config));
  const path = join(folder, 'model.safetensors');
  await writeSafetensors(path, tensors);
  return path;
}

/**
 * The transformer of a folder in `bits`, in a folder inside it. Scales are the plain ones: they cost the same as searched
 * ones when drawing.
 *
 * @returns the folder inside
 */
export async function quantizeGpt(folder: string, bits: QuantizedBits): Promise<string> {
  const inside = join(folder, `${bits}bit`);
  await mkdir(inside);
  const config = JSON.parse(await readFile(join(folder, 'config.json'), 'utf8')) as GptConfig;
  const format = BLOCK_FORMATS[bits];
  const matrices = new Set(linearWeights(decodeStepGraph(config).graph));
  const source = await openSafetensors(join(folder, 'model.safetensors'));
  try {
    await quantizeWeights(source, join(inside, 'model.safetensors'), { format, matrices, choice: 'nearest' });
  } finally {
    await source.close();
  }
  await writeFile(join(inside, 'config.json'), JSON.stringify({ ...config, quantization: format }));
  return inside;
}

/**
 * An untrained transformer in `bits`, 32 for float32, under a folder; what is there already is taken as it is.
 *
 * @returns the model's folder, and the path of its weights in float32
 */
export async function keptGpt(
  folder: string,
  config: GptConfig,
  bits: number,
): Promise<{ readonly path: string; readonly weights: string }> {
  const weights = join(folder, 'model.safetensors');
  if (!existsSync(weights)) await writeRandomGpt(folder, config);
  if (bits === 32) return { path: folder, weights };
  const inside = join(folder, `${bits}bit`);
  if (!existsSync(inside)) await quantizeGpt(folder, bits as QuantizedBits);
  if (!existsSync(join(inside, CACHE_FILE))) {
    await writeCacheSteps(inside, await measureCacheSteps(await openGptPart(inside)));
  }
  return { path: inside, weights };
}

function fill(target: Float32Array, table: Float32Array, from: number): void {
  for (let done = 0, at = from; done < target.length; at = 0) {
    const part = table.subarray(at, at + target.length - done);
    target.set(part, done);
    done += part.length;
  }
}
