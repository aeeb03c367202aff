import { endianness } from 'node:os';
import { ClipGenError } from '@clip-gen/errors';
import type { Tensor } from '@clip-gen/tensor';
import { crc32 } from './checksum.ts';
import { corrupt, FileBytes, shown } from './file-bytes.ts';
import { readLegacyFile } from './legacy-file.ts';
import type { PickleValue, StorageReference, TensorReference } from './pickle-value.ts';
import { readTensorData } from './tensor-data.ts';
import { readZipFile } from './zip-file.ts';

/** How a file is laid out: what torch.save writes since PyTorch 1.6, what torch.jit.save writes, what torch.save wrote. */
export type CheckpointFormat = 'zip' | 'torchscript' | 'legacy';

/** Where a storage lies in the file. */
export interface StoragePlace {
  readonly byteOffset: number;
  readonly byteLength: number;
  /** Of all its bytes; the legacy format has none. */
  readonly crc32?: number;
}

/** What a format's reader finds: the unpickled object, and how to find the storages. */
export interface CheckpointContents {
  readonly format: CheckpointFormat;
  readonly root: PickleValue;
  readonly place: (storage: StorageReference) => Promise<StoragePlace>;
}

const CHECK_BYTES = 8 << 20;
const PROBE_BYTES = 512;

/** An open checkpoint: what it holds is known, tensors are read when asked for. Reads may run at the same time. */
export class TorchCheckpoint {
  readonly path: string;
  readonly format: CheckpointFormat;
  /** The object that was saved, as plain data. */
  readonly root: PickleValue;
  readonly #file: FileBytes;
  readonly #contents: CheckpointContents;
  /** One place and one check for each storage, however many tensors are views of it. */
  readonly #places = new Map<string, Promise<StoragePlace>>();
  readonly #checks = new Map<string, Promise<void>>();

  /** Use {@link openTorchCheckpoint}. Owns `file`. */
  constructor(file: FileBytes, contents: CheckpointContents) {
    this.path = file.path;
    this.format = contents.format;
    this.root = contents.root;
    this.#file = file;
    this.#contents = contents;
  }

  /** Bytes of the file. */
  get fileBytes(): number {
    return this.#file.size;
  }

  /**
   * Reads one tensor, dense and row-major, into memory of its own, which the caller owns. The checksum of its storage is
   * checked too, once.
   *
   * @throws data_corrupt; unimplemented for an element type that is not read here; resource_exhausted for an expanded
   * tensor that would be much larger than the file
   */
  async read(tensor: TensorReference): Promise<Tensor> {
    const { storage } = tensor;
    const place = await this.#place(storage);
    const { dense, whole } = await readTensorData(this.#file, tensor, place);
    if (whole && place.crc32 !== undefined && !this.#checks.has(storage.key)) {
      this.#compare(storage, place.crc32, crc32(whole));
      this.#checks.set(storage.key, Promise.resolve());
    } else await this.#check(storage, place);
    return dense;
  }

  /** Closes the file once reads under way are done. May be called again. */
  async close(): Promise<void> {
    await this.#file.close();
  }

  #place(storage: StorageReference): Promise<StoragePlace> {
    let place = this.#places.get(storage.key);
    if (!place) this.#places.set(storage.key, (place = this.#contents.place(storage)));
    return place;
  }

  #check(storage: StorageReference, place: StoragePlace): Promise<void> {
    let check = this.#checks.get(storage.key);
    if (!check) this.#checks.set(storage.key, (check = this.#checkWhole(storage, place)));
    return check;
  }

  async #checkWhole(storage: StorageReference, { byteOffset, byteLength, crc32: stored }: StoragePlace): Promise<void> {
    if (stored === undefined) return;
    const buffer = new Uint8Array(Math.min(CHECK_BYTES, byteLength));
    let checksum = 0;
    for (let done = 0; done < byteLength; done += buffer.length) {
      const part = buffer.subarray(0, Math.min(buffer.length, byteLength - done));
      await this.#file.readInto(part, byteOffset + done, `storage ${shown(storage.key)}`);
      checksum = crc32(part, checksum);
    }
    this.#compare(storage, stored, checksum);
  }

  #compare({ key }: StorageReference, stored: number, computed: number): void {
    if (stored === computed) return;
    throw corrupt(
      this.path,
      `storage ${shown(key)} must have the checksum ${stored.toString(16)}; has ${computed.toString(16)}`,
    );
  }
}

/**
 * Opens what torch.save or torch.jit.save wrote: reads the list of records and the pickle, checks every tensor against
 * the file's size, and reads no tensor. Nothing in the file is run; a name that is no part of a checkpoint is refused.
 *
 * @throws not_found; failed_precondition for an unreadable file or a pickle that names, calls or makes something else,
 * named; data_corrupt; unimplemented for a variety that is not read; resource_exhausted past a limit
 */
export async function openTorchCheckpoint(path: string): Promise<TorchCheckpoint> {
  if (endianness() !== 'LE') throw new ClipGenError('unimplemented', 'checkpoints need a little-endian machine');
  const file = await FileBytes.open(path);
  try {
    return new TorchCheckpoint(file, await readContents(file));
  } catch (cause) {
    await file.close();
    throw cause;
  }
}

async function readContents(file: FileBytes): Promise<CheckpointContents> {
  const probe = await file.read(0, Math.min(PROBE_BYTES, file.size), 'the beginning');
  const text = Buffer.from(probe).toString('latin1');
  if (text.startsWith('PK')) return readZipFile(file);
  if (probe[0] === 0x80) return readLegacyFile(file);
  throw new ClipGenError('data_corrupt', `${file.path} is no PyTorch checkpoint${guess(text)}`);
}

/** What else the file seems to be. */
function guess(text: string): string {
  if (text === '') return ': it is empty';
  if (text.startsWith('version https://git-lfs'))
    return ": it is a pointer of Git LFS; fetch the file with 'git lfs pull'";
  if (/^\s*<(!doctype|html|\?xml)/i.test(text)) return ': it is a web page; download the file itself';
  if (/^.{8}\{\s*"/s.test(text)) return ': it seems to be a .safetensors file; give it that ending';
  if (text.slice(257, 262) === 'ustar') return ': it is a tar archive; PyTorch 1 can load it and save it anew';
  return '';
}
