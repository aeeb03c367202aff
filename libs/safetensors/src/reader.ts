import { open, type FileHandle } from 'node:fs/promises';
import { endianness } from 'node:os';
import { ClipGenError } from '@clip-gen/errors';
import { tensor, type Tensor, type TensorData } from '@clip-gen/tensor';
import { allocate, bytesOf, carries } from './dtype-names.ts';
import { corrupt, headerBytes, parseHeader, PREFIX_BYTES, shown, type Header, type TensorEntry } from './header.ts';

/** Bytes of one read call; the system takes at most 2^31 - 1. */
const CHUNK_BYTES = 2 ** 30;

/** An open file: the header is read and checked, tensors are read when asked for. Reads may run at the same time. */
export class SafetensorsFile {
  readonly #handle: FileHandle;

  /** Use {@link openSafetensors}. Owns `handle`. */
  constructor(
    readonly path: string,
    handle: FileHandle,
    header: Header,
  ) {
    this.#handle = handle;
    this.metadata = header.metadata;
    this.entries = header.entries;
  }

  /** The file's own notes, such as `format: pt`. */
  readonly metadata: ReadonlyMap<string, string>;

  /** Tensors by name, in the order of their bytes. */
  readonly entries: ReadonlyMap<string, TensorEntry>;

  /**
   * Reads one tensor into memory of its own, which the caller owns.
   *
   * @throws not_found for a name the file lacks; data_corrupt when the file has shrunk since it was opened
   */
  async read(name: string): Promise<Tensor> {
    const entry = this.#entry(name);
    const data = allocate(entry.dtype, entry.byteLength);
    await this.#fill(entry, data);
    return tensor(entry.dtype, entry.shape, data);
  }

  /**
   * Reads one tensor into `target`, which stays the caller's and must not be used until the promise settles.
   *
   * @param target the typed array of the tensor's dtype with exactly its elements
   * @throws invalid_argument when it is not, and what {@link read} throws
   */
  async readInto(name: string, target: TensorData): Promise<void> {
    const entry = this.#entry(name);
    if (!carries(entry.dtype, target) || target.byteLength !== entry.byteLength) {
      throw new ClipGenError(
        'invalid_argument',
        `target must hold ${entry.byteLength} bytes of ${entry.dtype} for tensor ${shown(name)}; ` +
          `got ${target.byteLength} bytes in a ${target.constructor.name}`,
      );
    }
    await this.#fill(entry, target);
  }

  /** Closes the file once reads under way are done. May be called again. */
  async close(): Promise<void> {
    await this.#handle.close();
  }

  #entry(name: string): TensorEntry {
    const entry = this.entries.get(name);
    if (entry === undefined) {
      throw new ClipGenError(
        'not_found',
        `${this.path} has no tensor ${shown(name)}; it has ${this.entries.size} others`,
      );
    }
    return entry;
  }

  async #fill({ name, dtype, byteOffset }: TensorEntry, data: TensorData): Promise<void> {
    const bytes = bytesOf(data);
    if ((await readFully(this.#handle, bytes, byteOffset)) !== bytes.length) {
      throw corrupt(this.path, `tensor ${shown(name)} is cut short`);
    }
    if (dtype === 'bool' && bytes.some((byte) => byte > 1)) {
      throw corrupt(this.path, `tensor ${shown(name)} of dtype BOOL must hold 0 and 1 only`);
    }
  }
}

/**
 * Opens a file and reads its header, whose length is bounded by the file's and by 100 MB.
 *
 * @throws not_found, failed_precondition when it cannot be read, data_corrupt, or unimplemented for an element type that clip-gen does not have
 */
export async function openSafetensors(path: string): Promise<SafetensorsFile> {
  if (endianness() !== 'LE') throw new ClipGenError('unimplemented', 'safetensors needs a little-endian machine');
  const handle = await openForReading(path);
  try {
    const stat = await handle.stat();
    if (!stat.isFile()) throw new ClipGenError('invalid_argument', `${path} must be a file`);
    const prefix = new Uint8Array(PREFIX_BYTES);
    const got = await readFully(handle, prefix, 0);
    const header = new Uint8Array(headerBytes(path, prefix.subarray(0, got), stat.size));
    if ((await readFully(handle, header, PREFIX_BYTES)) !== header.length)
      throw corrupt(path, 'the header is cut short');
    return new SafetensorsFile(path, handle, parseHeader(path, header, stat.size));
  } catch (cause) {
    await handle.close();
    throw cause;
  }
}

/**
 * Reads all tensors of a file, in the order of their bytes. The caller owns them.
 *
 * @throws what {@link openSafetensors} and {@link SafetensorsFile.read} throw
 */
export async function readSafetensors(path: string): Promise<Map<string, Tensor>> {
  const file = await openSafetensors(path);
  try {
    const tensors = new Map<string, Tensor>();
    for (const name of file.entries.keys()) tensors.set(name, await file.read(name));
    return tensors;
  } finally {
    await file.close();
  }
}

async function openForReading(path: string): Promise<FileHandle> {
  try {
    return await open(path, 'r');
  } catch (cause) {
    if (cause instanceof Error && 'code' in cause && cause.code === 'ENOENT') {
      throw new ClipGenError('not_found', `${path} does not exist`, { cause });
    }
    const reason = cause instanceof Error && 'code' in cause ? String(cause.code) : String(cause);
    throw new ClipGenError('failed_precondition', `${path} cannot be read (${reason})`, { cause });
  }
}

/** Bytes read: all of `bytes`, or fewer where the file ends. */
async function readFully(handle: FileHandle, bytes: Uint8Array, position: number): Promise<number> {
  let done = 0;
  while (done < bytes.length) {
    const length = Math.min(CHUNK_BYTES, bytes.length - done);
    const { bytesRead } = await handle.read(bytes, done, length, position + done);
    if (bytesRead === 0) break;
    done += bytesRead;
  }
  return done;
}
