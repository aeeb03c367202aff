import { extname } from 'node:path';
import { openSafetensors } from '@clip-gen/safetensors';
import type { Tensor } from '@clip-gen/tensor';
import { openTorchCheckpoint, stateDict, type CheckpointFormat } from '@clip-gen/torch-checkpoint';
import { open, stat } from 'node:fs/promises';

/** What a file says of a tensor before it is read. */
export interface StoredWeight {
  /** PyTorch's name of the element type. */
  readonly type: string;
  readonly shape: readonly number[];
}

/** An open file of weights, of whatever format. */
export interface WeightSource {
  readonly path: string;
  readonly format: CheckpointFormat | 'safetensors';
  readonly fileBytes: number;
  readonly weights: ReadonlyMap<string, StoredWeight>;
  /** One tensor in memory of its own, which the caller owns. */
  readonly read: (name: string) => Promise<Tensor>;
  readonly close: () => Promise<void>;
}

/** What training programs put before every name: the wrappers that a model was trained in. */
const WRAPPERS = ['module.', '_orig_mod.'];

/**
 * Opens a PyTorch checkpoint or a safetensors file; names without the wrappers that all of them carry.
 *
 * @throws what `openTorchCheckpoint`, `stateDict` and `openSafetensors` throw
 */
export async function openWeights(path: string): Promise<WeightSource> {
  return unwrapped((await isSafetensors(path)) ? await openSafetensorsWeights(path) : await openTorchWeights(path));
}

/** A part of a source whose names begin with `prefix`, under the rest of their names. */
export function weightsUnder(source: WeightSource, prefix: string): WeightSource {
  const weights = new Map<string, StoredWeight>();
  for (const [name, weight] of source.weights) {
    if (name.startsWith(prefix)) weights.set(name.slice(prefix.length), weight);
  }
  return { ...source, weights, read: (name) => source.read(prefix + name) };
}

function unwrapped(source: WeightSource): WeightSource {
  for (const wrapper of WRAPPERS) {
    const all = source.weights.size > 0 && [...source.weights.keys()].every((name) => name.startsWith(wrapper));
    if (all) return unwrapped(weightsUnder(source, wrapper));
  }
  return source;
}

async function openTorchWeights(path: string): Promise<WeightSource> {
  const checkpoint = await openTorchCheckpoint(path);
  try {
    const { tensors } = stateDict(checkpoint.root, path);
    return {
      path,
      format: checkpoint.format,
      fileBytes: checkpoint.fileBytes,
      weights: tensors,
      read: (name) => checkpoint.read(tensors.get(name)!),
      close: () => checkpoint.close(),
    };
  } catch (error) {
    await checkpoint.close();
    throw error;
  }
}

async function openSafetensorsWeights(path: string): Promise<WeightSource> {
  const { size } = await stat(path);
  const file = await openSafetensors(path);
  const weights = new Map([...file.entries].map(([name, { dtype, shape }]) => [name, { type: dtype, shape }]));
  return {
    path,
    format: 'safetensors',
    fileBytes: size,
    weights,
    read: (name) => file.read(name),
    close: () => file.close(),
  };
}

/** By its ending, or by a ninth byte that opens JSON, which no PyTorch checkpoint has. */
async function isSafetensors(path: string): Promise<boolean> {
  if (extname(path).toLowerCase() === '.safetensors') return true;
  const handle = await open(path, 'r').catch(() => undefined);
  if (!handle) return false; // the reader says why
  try {
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(10), 0, 10, 0);
    return bytesRead === 10 && buffer.readBigUInt64LE() < 2n ** 32n && buffer.toString('latin1', 8) === '{"';
  } catch {
    return false; // a folder
  } finally {
    await handle.close();
  }
}
