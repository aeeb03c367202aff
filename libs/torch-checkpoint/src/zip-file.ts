import { ClipGenError } from '@clip-gen/errors';
import { crc32 } from './checksum.ts';
import type { CheckpointContents, StoragePlace } from './checkpoint.ts';
import { corrupt, shown, type FileBytes } from './file-bytes.ts';
import { MAX_PICKLE_BYTES } from './limits.ts';
import type { StorageReference } from './pickle-value.ts';
import { TorchMeaning } from './torch-meaning.ts';
import { unpickle } from './unpickle.ts';
import { locateRecord, readZipDirectory, type ZipRecord } from './zip-directory.ts';

const PICKLE = 'data.pkl';
const CONSTANTS = 'constants.pkl';

/**
 * A zip archive of torch.save or torch.jit.save: `NAME/data.pkl` is the object, `NAME/data/KEY` the bytes of each
 * storage. TorchScript's has `NAME/constants.pkl` and source code beside them, which is not read.
 */
export async function readZipFile(file: FileBytes): Promise<CheckpointContents> {
  const records = await readZipDirectory(file);
  const pickles = [...records.keys()].filter((name) => name.endsWith(`/${PICKLE}`) && name.split('/').length === 2);
  const [pickle] = pickles;
  if (pickle === undefined || pickles.length > 1) {
    throw corrupt(file.path, `it must have one record named ${PICKLE} in a folder; got ${pickles.length}`);
  }
  const folder = pickle.slice(0, -PICKLE.length);
  await checkByteOrder(file, records.get(`${folder}byteorder`));
  const scripted = records.has(folder + CONSTANTS);
  const recordOf = (storage: StorageReference): ZipRecord => {
    const record = records.get(`${folder}data/${storage.key}`);
    if (!record) throw corrupt(file.path, `storage ${shown(storage.key)} is missing`);
    return record;
  };
  const meaning = new TorchMeaning(file.path, scripted, (storage) => {
    const { byteLength, method } = recordOf(storage);
    if (method === 0 && byteLength !== storage.byteLength) {
      const sizes = `${storage.byteLength} bytes by the pickle; its record has ${byteLength}`;
      throw corrupt(file.path, `storage ${shown(storage.key)} has ${sizes}`);
    }
  });
  const { value } = unpickle(file.path, await readRecord(file, records.get(pickle)!, MAX_PICKLE_BYTES), meaning);
  return {
    format: scripted ? 'torchscript' : 'zip',
    root: value,
    place: async (storage): Promise<StoragePlace> => {
      const record = recordOf(storage);
      const byteOffset = await locateRecord(file, record);
      return { byteOffset, byteLength: record.byteLength, crc32: record.crc32 };
    },
  };
}

/** A small record whole, its checksum checked. */
async function readRecord(file: FileBytes, record: ZipRecord, maxBytes: number): Promise<Uint8Array> {
  const { name, byteLength } = record;
  if (byteLength > maxBytes) {
    const problem = `record ${shown(name)} must have at most ${maxBytes} bytes; got ${byteLength}`;
    throw new ClipGenError('resource_exhausted', `${file.path}: ${problem}`);
  }
  const bytes = await file.read(await locateRecord(file, record), byteLength, `record ${shown(name)}`);
  if (crc32(bytes) !== record.crc32) throw corrupt(file.path, `the checksum of record ${shown(name)} is wrong`);
  return bytes;
}

async function checkByteOrder(file: FileBytes, record: ZipRecord | undefined): Promise<void> {
  if (!record) return;
  const order = Buffer.from(await readRecord(file, record, 16)).toString('latin1');
  if (order === 'little') return;
  const hint = 'write it again on a little-endian machine';
  throw new ClipGenError('unimplemented', `${file.path} must be of byte order little; got ${shown(order)}; ${hint}`);
}
