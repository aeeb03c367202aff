import { ClipGenError } from '@clip-gen/errors';
import { corrupt, shown, type FileBytes } from './file-bytes.ts';
import { MAX_DIRECTORY_BYTES, MAX_RECORDS } from './limits.ts';

/** One stored file of a zip archive. */
export interface ZipRecord {
  readonly name: string;
  /** Where its local header begins; the bytes follow that. */
  readonly headerOffset: number;
  readonly byteLength: number;
  /** 0: stored as it is. TorchScript compresses its source code, which nothing here reads. */
  readonly method: number;
  readonly crc32: number;
}

const END_BYTES = 22;
const MAX_COMMENT_BYTES = 0xffff;
const LOCATOR_BYTES = 20;
const END64_BYTES = 56;
const ENTRY_BYTES = 46;
const LOCAL_BYTES = 30;
const END_SIGNATURE = 0x06054b50;
const LOCATOR_SIGNATURE = 0x07064b50;
const END64_SIGNATURE = 0x06064b50;
const ENTRY_SIGNATURE = 0x02014b50;
const LOCAL_SIGNATURE = 0x04034b50;
const WIDE = 0xffffffff;
const ENCRYPTED_FLAG = 1;
const ZIP64_EXTRA = 1;

/**
 * The records of a zip archive by name (PKWARE APPNOTE 4.3, zip64 too). Reads the central directory alone. Records do not
 * overlap, so those that are stored, as torch.save stores tensors, have no more bytes than the file.
 *
 * @throws data_corrupt; unimplemented for encrypted or split archives; resource_exhausted past a limit
 */
export async function readZipDirectory(file: FileBytes): Promise<ReadonlyMap<string, ZipRecord>> {
  const { start, byteLength, count } = await findDirectory(file);
  if (count > MAX_RECORDS || byteLength > MAX_DIRECTORY_BYTES) {
    const problem = `must name at most ${MAX_RECORDS} records in ${MAX_DIRECTORY_BYTES} bytes`;
    throw new ClipGenError(
      'resource_exhausted',
      `${file.path}: its directory ${problem}; got ${count} in ${byteLength}`,
    );
  }
  const bytes = await file.read(start, byteLength, 'the directory of records');
  const records = new Map<string, ZipRecord>();
  let at = 0;
  for (let i = 0; i < count; i++) {
    const { record, next } = readEntry(file.path, bytes, at);
    if (records.has(record.name)) throw corrupt(file.path, `record ${shown(record.name)} comes twice`);
    records.set(record.name, record);
    at = next;
  }
  checkOverlap(file.path, [...records.values()], start);
  return records;
}

/**
 * Where a record's bytes begin: after its local header, whose length only the header itself tells.
 *
 * @throws data_corrupt when header and directory differ; unimplemented for a compressed record
 */
export async function locateRecord(file: FileBytes, record: ZipRecord): Promise<number> {
  const what = `record ${shown(record.name)}`;
  if (record.method !== 0) {
    const hint = 'load it in PyTorch and write it again with torch.save';
    throw new ClipGenError('unimplemented', `${file.path}: ${what} is compressed (method ${record.method}); ${hint}`);
  }
  const header = view(await file.read(record.headerOffset, LOCAL_BYTES, `the header of ${what}`));
  if (header.getUint32(0, true) !== LOCAL_SIGNATURE) throw corrupt(file.path, `${what} has no header`);
  if (header.getUint16(8, true) !== 0) throw corrupt(file.path, `${what} is stored by one of its two headers only`);
  const nameBytes = header.getUint16(26, true);
  const name = await file.read(record.headerOffset + LOCAL_BYTES, nameBytes, `the name of ${what}`);
  if (decodeName(file.path, name) !== record.name) throw corrupt(file.path, `${what} has another name in its header`);
  return record.headerOffset + LOCAL_BYTES + nameBytes + header.getUint16(28, true);
}

interface DirectoryPlace {
  readonly start: number;
  readonly byteLength: number;
  readonly count: number;
}

async function findDirectory(file: FileBytes): Promise<DirectoryPlace> {
  const tailBytes = Math.min(file.size, END_BYTES + MAX_COMMENT_BYTES);
  const tailStart = file.size - tailBytes;
  const tail = view(await file.read(tailStart, tailBytes, 'the end of the archive'));
  let at = tailBytes - END_BYTES;
  while (at >= 0 && !(tail.getUint32(at, true) === END_SIGNATURE && endsThere(tail, at))) at--;
  if (at < 0) throw corrupt(file.path, 'the end of the zip archive is missing');
  const end = tailStart + at;
  const narrow = {
    start: tail.getUint32(at + 16, true),
    byteLength: tail.getUint32(at + 12, true),
    count: tail.getUint16(at + 10, true),
  };
  if (tail.getUint16(at + 4, true) !== tail.getUint16(at + 6, true)) throw splitArchive(file.path);
  const place = (await findWideDirectory(file, end)) ?? narrow;
  if (place.start + place.byteLength > end) {
    throw corrupt(file.path, `the directory of records must end by byte ${end}; begins at ${place.start}`);
  }
  return place;
}

function endsThere(tail: DataView, at: number): boolean {
  return at + END_BYTES + tail.getUint16(at + 20, true) === tail.byteLength;
}

/** The zip64 form, where there is one: torch.save always writes it. */
async function findWideDirectory(file: FileBytes, end: number): Promise<DirectoryPlace | undefined> {
  if (end < LOCATOR_BYTES) return undefined;
  const locator = view(await file.read(end - LOCATOR_BYTES, LOCATOR_BYTES, 'the zip64 locator'));
  if (locator.getUint32(0, true) !== LOCATOR_SIGNATURE) return undefined;
  const offset = wideInteger(file.path, locator, 8);
  const bytes = view(await file.read(offset, END64_BYTES, 'the zip64 end of the archive'));
  if (bytes.getUint32(0, true) !== END64_SIGNATURE) throw corrupt(file.path, 'the zip64 end is not where it must be');
  if (bytes.getUint32(16, true) !== bytes.getUint32(20, true)) throw splitArchive(file.path);
  return {
    count: wideInteger(file.path, bytes, 32),
    byteLength: wideInteger(file.path, bytes, 40),
    start: wideInteger(file.path, bytes, 48),
  };
}

function readEntry(path: string, bytes: Uint8Array, at: number): { record: ZipRecord; next: number } {
  if (at + ENTRY_BYTES > bytes.length) throw corrupt(path, 'the directory of records is cut short');
  const entry = view(bytes.subarray(at, at + ENTRY_BYTES));
  if (entry.getUint32(0, true) !== ENTRY_SIGNATURE) throw corrupt(path, 'the directory of records is broken');
  const nameEnd = at + ENTRY_BYTES + entry.getUint16(28, true);
  const extraEnd = nameEnd + entry.getUint16(30, true);
  const next = extraEnd + entry.getUint16(32, true);
  if (next > bytes.length) throw corrupt(path, 'the directory of records is cut short');
  const name = decodeName(path, bytes.subarray(at + ENTRY_BYTES, nameEnd));
  if ((entry.getUint16(8, true) & ENCRYPTED_FLAG) !== 0) {
    throw new ClipGenError('unimplemented', `${path}: record ${shown(name)} is encrypted; decrypt the file first`);
  }
  const narrow = [entry.getUint32(24, true), entry.getUint32(20, true), entry.getUint32(42, true)];
  const [byteLength, stored, headerOffset] = widened(path, name, narrow, bytes.subarray(nameEnd, extraEnd));
  const method = entry.getUint16(10, true);
  if (method === 0 && byteLength !== stored) {
    throw corrupt(path, `record ${shown(name)} must have one size; got ${byteLength} and ${stored}`);
  }
  return { record: { name, headerOffset, byteLength: stored, method, crc32: entry.getUint32(16, true) }, next };
}

/** Sizes and offset that do not fit into 32 bits stand in an extra field, in this order and only those. */
function widened(path: string, name: string, narrow: readonly number[], extra: Uint8Array): [number, number, number] {
  const fields = view(extra);
  const values = [...narrow];
  for (let at = 0; at + 4 <= extra.length;) {
    const length = fields.getUint16(at + 2, true);
    const fieldEnd = at + 4 + length;
    if (fieldEnd > extra.length) break; // padding that is no field
    if (fields.getUint16(at, true) === ZIP64_EXTRA) {
      let from = at + 4;
      for (let i = 0; i < values.length; i++) {
        if (values[i] !== WIDE || from + 8 > fieldEnd) continue;
        values[i] = wideInteger(path, fields, from);
        from += 8;
      }
    }
    at = fieldEnd;
  }
  if (values.includes(WIDE)) throw corrupt(path, `record ${shown(name)} lacks its zip64 sizes`);
  return values as [number, number, number];
}

/** No byte belongs to two records or to a record and the directory. */
function checkOverlap(path: string, records: readonly ZipRecord[], directoryStart: number): void {
  const sorted = [...records].sort((a, b) => a.headerOffset - b.headerOffset);
  sorted.forEach(({ name, headerOffset, byteLength }, i) => {
    const end = headerOffset + LOCAL_BYTES + byteLength;
    const bound = sorted[i + 1]?.headerOffset ?? directoryStart;
    if (end > bound) throw corrupt(path, `record ${shown(name)} must end by byte ${bound}; ends at ${end}`);
  });
}

function splitArchive(path: string): ClipGenError {
  return new ClipGenError('unimplemented', `${path} is one part of a split archive; join its parts first`);
}

function decodeName(path: string, bytes: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (cause) {
    throw corrupt(path, 'a record has a name that is no UTF-8', cause);
  }
}

function wideInteger(path: string, bytes: DataView, at: number): number {
  const value = Number(bytes.getBigUint64(at, true));
  if (!Number.isSafeInteger(value)) throw corrupt(path, `a zip64 size must be below 2^53; got ${value}`);
  return value;
}

function view(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
