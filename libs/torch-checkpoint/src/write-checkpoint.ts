import { endianness } from 'node:os';
import { ClipGenError } from '@clip-gen/errors';
import type { Tensor } from '@clip-gen/tensor';
import { writeWhole } from '@clip-gen/whole-file';
import { shown } from './file-bytes.ts';
import { pickleStateDict, type WrittenTensor } from './pickle-writer.ts';
import { ZipWriter } from './zip-writer.ts';

/** A tensor that is loaded when its turn comes and let go after it. */
export interface TorchSource extends WrittenTensor {
  readonly load: () => Promise<Tensor>;
}

/** How a checkpoint is laid out. */
export interface WriteTorchOptions {
  /** Puts the state dict into a dictionary under this name; without it the state dict is all there is. */
  readonly entry?: string;
}

/** The archive's folder; PyTorch's own name for it. */
const FOLDER = 'archive';

/**
 * Writes a state dict as torch.save does, so that `torch.load(path, weights_only=True)` reads it. One tensor is in memory
 * at a time. The file is written under a temporary name, synced and renamed.
 *
 * @throws invalid_argument for a name twice or a tensor that is not what its source says
 */
export async function writeTorchCheckpoint(
  path: string,
  sources: readonly TorchSource[],
  options: WriteTorchOptions = {},
): Promise<void> {
  if (endianness() !== 'LE') throw new ClipGenError('unimplemented', 'checkpoints need a little-endian machine');
  const names = new Set<string>();
  for (const { name } of sources) {
    if (names.has(name)) throw new ClipGenError('invalid_argument', `sources must have one ${shown(name)}; got two`);
    names.add(name);
  }
  await writeWhole(path, async (file) => {
    const zip = new ZipWriter(file);
    await zip.add(`${FOLDER}/data.pkl`, pickleStateDict(sources, options.entry));
    await zip.add(`${FOLDER}/byteorder`, Buffer.from('little'));
    for (const [key, source] of sources.entries()) await zip.add(`${FOLDER}/data/${key}`, await bytesOf(source));
    await zip.add(`${FOLDER}/version`, Buffer.from('3\n'));
    await zip.finish();
  });
}

async function bytesOf({ name, dtype, shape, load }: TorchSource): Promise<Uint8Array> {
  const tensor = await load();
  if (tensor.dtype !== dtype || tensor.shape.join() !== shape.join()) {
    const [wanted, got] = [`${dtype} [${shape.join(', ')}]`, `${tensor.dtype} [${tensor.shape.join(', ')}]`];
    throw new ClipGenError('invalid_argument', `source ${shown(name)} must load ${wanted}; got ${got}`);
  }
  const { buffer, byteOffset, byteLength } = tensor.data;
  return new Uint8Array(buffer, byteOffset, byteLength);
}
