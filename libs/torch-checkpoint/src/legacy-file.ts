import { ClipGenError } from '@clip-gen/errors';
import type { CheckpointContents, StoragePlace } from './checkpoint.ts';
import { corrupt, shown, type FileBytes } from './file-bytes.ts';
import { MAX_PICKLE_BYTES } from './limits.ts';
import { PickleEnd } from './pickle-error.ts';
import { PickleDict, type PickleValue } from './pickle-value.ts';
import { TorchMeaning } from './torch-meaning.ts';
import { unpickle } from './unpickle.ts';

/** What the first pickle of a file of torch.save before 1.6 is. */
const MAGIC = 0x1950a86a20f9469cfc6cn;
const PROTOCOL = 1001;
const FIRST_WINDOW_BYTES = 1 << 20;
const COUNT_BYTES = 8;

/**
 * What torch.save wrote before PyTorch 1.6 (and writes by `_use_new_zipfile_serialization=False`): five pickles (a magic
 * number, a protocol number, the writer's machine, the object, the storages' keys), then each storage as its number of
 * elements and its bytes.
 */
export async function readLegacyFile(file: FileBytes): Promise<CheckpointContents> {
  const { meaning, root, keys, end } = await readPickles(file);
  const places = new Map<string, StoragePlace>();
  let at = end;
  for (const key of keys) {
    const storage = typeof key === 'string' ? meaning.storages.get(key) : undefined;
    if (!storage) throw corrupt(file.path, 'its list of storages names one that no tensor has');
    if (places.has(storage.key)) throw corrupt(file.path, `storage ${shown(storage.key)} comes twice`);
    const what = `storage ${shown(storage.key)}`;
    const count = Buffer.from(await file.read(at, COUNT_BYTES, what)).readBigInt64LE();
    const elementBytes = Number(BigInt(storage.byteLength) / (count > 0n ? count : 1n));
    if (count < 0n || BigInt(elementBytes) * count !== BigInt(storage.byteLength)) {
      throw corrupt(file.path, `${what} must have ${storage.byteLength} bytes; has ${count} elements`);
    }
    at += COUNT_BYTES;
    if (at + storage.byteLength > file.size) throw corrupt(file.path, `${what} is cut short`);
    places.set(storage.key, { byteOffset: at, byteLength: storage.byteLength });
    at += storage.byteLength;
  }
  return {
    format: 'legacy',
    root,
    place: (storage) => {
      const place = places.get(storage.key);
      if (!place) return Promise.reject(corrupt(file.path, `storage ${shown(storage.key)} is missing`));
      return Promise.resolve(place);
    },
  };
}

interface LegacyPickles {
  readonly meaning: TorchMeaning;
  readonly root: PickleValue;
  readonly keys: readonly PickleValue[];
  /** Where the storages begin. */
  readonly end: number;
}

/** The pickles do not say how long they are: a window that is too short is read again four times as long. */
async function readPickles(file: FileBytes): Promise<LegacyPickles> {
  for (let window = FIRST_WINDOW_BYTES; ; window *= 4) {
    const length = Math.min(window, MAX_PICKLE_BYTES, file.size);
    try {
      return parsePickles(file.path, await file.read(0, length, 'the pickles'));
    } catch (error) {
      const short = error instanceof ClipGenError && error.cause instanceof PickleEnd;
      if (!short || length === file.size) throw error;
      if (length < MAX_PICKLE_BYTES) continue;
      const problem = `its pickles must have at most ${MAX_PICKLE_BYTES} bytes`;
      throw new ClipGenError('resource_exhausted', `${file.path}: ${problem}`, { cause: error });
    }
  }
}

function parsePickles(path: string, bytes: Uint8Array): LegacyPickles {
  const meaning = new TorchMeaning(path, false);
  let end = 0;
  const next = (): PickleValue => {
    const read = unpickle(path, bytes, meaning, end);
    end = read.end;
    return read.value;
  };
  if (next() !== MAGIC) throw corrupt(path, 'it is a pickle, but none of torch.save');
  const protocol = next();
  if (protocol !== PROTOCOL) {
    throw new ClipGenError('unimplemented', `${path}: the protocol must be ${PROTOCOL}; got ${String(protocol)}`);
  }
  const machine = next();
  if (machine instanceof PickleDict && machine.get('little_endian') === false) {
    const hint = 'write it again on a little-endian machine';
    throw new ClipGenError('unimplemented', `${path} must be of byte order little; got big; ${hint}`);
  }
  const root = next();
  const keys = next();
  if (!Array.isArray(keys)) throw corrupt(path, 'its list of storages is none');
  return { meaning, root, keys, end };
}
