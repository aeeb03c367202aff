import { join } from 'node:path';
import { ClipGenError } from '@clip-gen/errors';
import { readSafetensors, toFloat32 } from '@clip-gen/safetensors';
import type { Tensor } from '@clip-gen/tensor';

/**
 * Weights of a trained model under `prefix`, as float32, to be fed beside the trained ones.
 *
 * @throws not_found when the folder holds no `model.safetensors`
 */
export async function loadFrozen(folder: string, prefix: string): Promise<Record<string, Tensor<'float32'>>> {
  return loadFrozenFile(join(folder, 'model.safetensors'), prefix);
}

/** The same from a file. */
export async function loadFrozenFile(path: string, prefix: string): Promise<Record<string, Tensor<'float32'>>> {
  const tensors = await readSafetensors(path);
  return Object.fromEntries(
    [...tensors].filter(([, t]) => isFloat(t)).map(([name, t]) => [prefix + name, toFloat32(t)]),
  );
}

function isFloat(tensor: Tensor): boolean {
  return tensor.dtype === 'float32' || tensor.dtype === 'float16' || tensor.dtype === 'bfloat16';
}

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
