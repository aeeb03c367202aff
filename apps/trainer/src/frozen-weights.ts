import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { ClipGenError } from '@clip-gen/errors';
import { readSafetensors, toFloat32 } from '@clip-gen/safetensors';
import type { Tensor } from '@clip-gen/tensor';
import type { z } from 'zod';
import { hashFile } from './file-hash.ts';
import { readModelConfig } from './model-folder.ts';

/** Weights that a training looks through and does not move. */
export interface FrozenWeights {
  readonly weights: Readonly<Record<string, Tensor<'float32'>>>;
  /** Changes when the weights, or how they are used, change. */
  readonly hash: string;
}

export interface FrozenModel<C> extends FrozenWeights {
  readonly folder: string;
  readonly config: C;
}

/**
 * A trained model, its weights as float32.
 *
 * @throws not_found when the folder holds no model; data_corrupt when it is of another kind or damaged
 */
export async function loadFrozenModel<S extends z.ZodType>(
  folder: string,
  schema: S,
): Promise<FrozenModel<z.output<S>>> {
  const config = await readModelConfig(folder, schema);
  const { weights, hash } = await loadFrozenWeights(join(folder, 'model.safetensors'));
  const whole = createHash('sha256').update(JSON.stringify(config)).update(hash).digest('hex');
  return { folder, config, weights, hash: whole };
}

/** The float tensors of a file, as float32. @throws not_found, data_corrupt */
export async function loadFrozenWeights(path: string): Promise<FrozenWeights> {
  const tensors = await readSafetensors(path);
  const floats = [...tensors].filter(([, { dtype }]) => FLOATS.includes(dtype));
  return { weights: Object.fromEntries(floats.map(([name, t]) => [name, toFloat32(t)])), hash: await hashFile(path) };
}

const FLOATS: readonly string[] = ['float32', 'float16', 'bfloat16'];

/** @throws failed_precondition when a weight that the graph asks for is missing or has another shape */
export function requireWeights(
  wanted: readonly { readonly name: string; readonly shape: readonly number[] }[],
  given: Readonly<Record<string, Tensor>>,
  source: string,
): void {
  for (const { name, shape } of wanted) {
    const tensor = given[name];
    if (!tensor || tensor.shape.join() !== shape.join()) {
      throw new ClipGenError(
        'failed_precondition',
        `${source}: ${name} must be [${shape.join(', ')}]; got ${tensor ? `[${tensor.shape.join(', ')}]` : 'nothing'}`,
      );
    }
  }
}
