import { fileURLToPath } from 'node:url';
import { ClipGenError } from '@clip-gen/errors';
import { openSafetensors } from '@clip-gen/safetensors';
import type { DType, Tensor } from '@clip-gen/tensor';

/** Reference tensors by name, with the notes that their maker left in the file. */
export class Goldens extends Map<string, Tensor> {
  constructor(
    /** Where they came from; stands in error messages. */
    readonly path: string,
    /** The file's own notes: who made it, with which versions and settings. */
    readonly metadata: ReadonlyMap<string, string>,
  ) {
    super();
  }

  /**
   * The tensor `name` of element type `dtype`; the goldens keep its buffer.
   *
   * @throws not_found for a name the file lacks; failed_precondition when it holds another element type
   */
  tensor<D extends DType = 'float32'>(name: string, dtype: D = 'float32' as D): Tensor<D> {
    const found = this.get(name);
    if (found === undefined) {
      throw new ClipGenError(
        'not_found',
        `${this.path} has no golden "${name}"; it has ${[...this.keys()].join(', ')}`,
      );
    }
    if (!has(found, dtype)) {
      throw new ClipGenError('failed_precondition', `golden "${name}" must be ${dtype}; it is ${found.dtype}`);
    }
    return found;
  }
}

/**
 * Reads all tensors of a `.safetensors` file of goldens; the caller owns them.
 *
 * @param path a file path or a `file:` URL, such as `new URL('./goldens/conv.safetensors', import.meta.url)`
 * @throws not_found or data_corrupt, as `openSafetensors` does
 */
export async function loadGoldens(path: string | URL): Promise<Goldens> {
  const file = await openSafetensors(path instanceof URL ? fileURLToPath(path) : path);
  try {
    const goldens = new Goldens(file.path, file.metadata);
    for (const name of file.entries.keys()) goldens.set(name, await file.read(name));
    return goldens;
  } finally {
    await file.close();
  }
}

function has<D extends DType>(tensor: Tensor, dtype: D): tensor is Tensor<D> {
  return tensor.dtype === dtype;
}
