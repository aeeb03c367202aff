import { endianness } from 'node:os';
import { ClipGenError } from '@clip-gen/errors';
import { bytesPerElement, elementCount, type DType, type Tensor } from '@clip-gen/tensor';
import { writeBytes, writeWhole } from '@clip-gen/whole-file';
import { bytesOf, carries, NAME_OF } from './dtype-names.ts';
import { MAX_HEADER_BYTES, PREFIX_BYTES, shown } from './header.ts';

/** The first tensor's alignment in the file: a cache line, so that a mapped file can be read with vector loads. */
const ALIGN_BYTES = 64;

/** A tensor to be written that is loaded when its turn comes and let go after it. */
export interface TensorSource {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
  /** Called once. */
  readonly load: () => Promise<Tensor> | Tensor;
}

/**
 * Writes a file under a temporary name beside `path`, syncs it and renames it: `path` holds the old file or the whole
 * new one, never a part.
 *
 * Tensors lie by falling element size, then by name, from a multiple of 64 bytes on, so each is aligned to its elements.
 * Equal tensors in any order make equal files.
 *
 * @param tensors by name; their data is not copied and must not change until the promise settles
 * @param metadata the file's own notes
 * @throws invalid_argument for a name twice, a reserved or malformed name, or data that does not fit its shape
 */
export async function writeSafetensors(
  path: string,
  tensors: Iterable<readonly [string, Tensor]>,
  metadata: Iterable<readonly [string, string]> | Readonly<Record<string, string>> = {},
): Promise<void> {
  const sources = Array.from(tensors, ([name, whole]): TensorSource => {
    const { dtype, shape } = whole;
    checkCarried({ name, dtype, shape }, whole);
    return { name, dtype, shape, load: () => whole };
  });
  await writeSafetensorsFrom(path, sources, metadata);
}

/**
 * {@link writeSafetensors} with one tensor in memory at a time.
 *
 * @throws invalid_argument also for a tensor that is not what its source says; what a source throws
 */
export async function writeSafetensorsFrom(
  path: string,
  sources: Iterable<TensorSource>,
  metadata: Iterable<readonly [string, string]> | Readonly<Record<string, string>> = {},
): Promise<void> {
  if (endianness() !== 'LE') throw new ClipGenError('unimplemented', 'safetensors needs a little-endian machine');
  const sorted = [...sources].sort(byElementSizeThenName);
  const notes = Symbol.iterator in metadata ? [...metadata] : Object.entries(metadata);
  const header = headerOf(sorted, notes);
  await writeWhole(path, async (file) => {
    await writeBytes(file, header);
    for (const source of sorted) {
      const whole = await source.load();
      checkCarried(source, whole);
      await writeBytes(file, bytesOf(whole.data));
    }
  });
}

function byElementSizeThenName(a: TensorSource, b: TensorSource): number {
  return bytesPerElement(b.dtype) - bytesPerElement(a.dtype) || (a.name < b.name ? -1 : a.name > b.name ? 1 : 0);
}

/** That the data of a tensor is what the header says of it. */
function checkCarried({ name, dtype, shape }: Omit<TensorSource, 'load'>, whole: Tensor): void {
  const { data } = whole;
  const same = whole.dtype === dtype && whole.shape.join() === shape.join();
  if (same && carries(dtype, data) && data.length === elementCount(shape)) return;
  throw new ClipGenError(
    'invalid_argument',
    `tensor ${shown(name)} must hold ${elementCount(shape)} elements of ${dtype}; ` +
      `got ${data.length} in a ${data.constructor.name}`,
  );
}

/** The length and the header, padded with spaces to a multiple of 64 bytes. */
function headerOf(tensors: readonly TensorSource[], metadata: readonly (readonly [string, string])[]) {
  const members: string[] = [];
  if (metadata.length > 0) {
    checkNames(
      'metadata',
      metadata.map(([key]) => key),
    );
    const notes = metadata.map(([key, value]) => `${JSON.stringify(key)}:${JSON.stringify(wellFormed(key, value))}`);
    members.push(`"__metadata__":{${notes.join(',')}}`);
  }
  checkNames(
    'tensors',
    tensors.map(({ name }) => name),
  );
  let offset = 0;
  for (const { name, dtype, shape } of tensors) {
    if (name === '__metadata__') {
      throw new ClipGenError('invalid_argument', 'tensors must not be named __metadata__; the format reserves it');
    }
    const end = offset + bytesPerElement(dtype) * elementCount(shape);
    members.push(
      `${JSON.stringify(name)}:{"dtype":"${NAME_OF[dtype]}","shape":[${shape.join(',')}],"data_offsets":[${offset},${end}]}`,
    );
    offset = end;
  }
  const text = Buffer.from(`{${members.join(',')}}`);
  const total = Math.ceil((PREFIX_BYTES + text.length) / ALIGN_BYTES) * ALIGN_BYTES;
  if (total - PREFIX_BYTES > MAX_HEADER_BYTES) {
    throw new ClipGenError('invalid_argument', `tensors must have a header of at most ${MAX_HEADER_BYTES} bytes`);
  }
  const header = Buffer.alloc(total, ' ');
  header.writeBigUInt64LE(BigInt(total - PREFIX_BYTES));
  text.copy(header, PREFIX_BYTES);
  return header;
}

function checkNames(argument: string, names: readonly string[]): void {
  const seen = new Set<string>();
  for (const name of names) {
    if (seen.has(name)) throw new ClipGenError('invalid_argument', `${argument} must have one ${shown(name)}; got two`);
    seen.add(wellFormed(argument, name));
  }
}

/** A string with half a surrogate pair has no UTF-8, so other readers would refuse the file. */
function wellFormed(argument: string, value: string): string {
  if (Buffer.from(value).toString() !== value) {
    throw new ClipGenError('invalid_argument', `${argument} must be well-formed Unicode; got ${shown(value)}`);
  }
  return value;
}
