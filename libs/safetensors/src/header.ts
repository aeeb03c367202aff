import { bytesPerElement, type DType } from '@clip-gen/tensor';
import { ClipGenError } from '@clip-gen/errors';
import { dtypeOf, NAME_OF } from './dtype-names.ts';
import { parseHeaderText, type RawEntry, type RawHeader } from './header-text.ts';

/** Where one tensor lies in the file. */
export interface TensorEntry {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
  /** First byte, counted from the start of the file: what ONNX calls the `offset` of external data. */
  readonly byteOffset: number;
  readonly byteLength: number;
}

/** A header whose tensors lie within the file, one behind the other, without gaps. */
export interface Header {
  readonly metadata: ReadonlyMap<string, string>;
  /** In the order of their bytes. */
  readonly entries: ReadonlyMap<string, TensorEntry>;
}

/** Bytes before the header: its length, an unsigned 64-bit little-endian integer. */
export const PREFIX_BYTES = 8;

/** The format's own limit, of the reference implementation. */
export const MAX_HEADER_BYTES = 100_000_000;

/**
 * The length of the header, from the first bytes of a file.
 *
 * @param prefix the first 8 bytes, or fewer when the file has fewer
 * @param fileBytes size of the whole file
 * @throws data_corrupt when a header of that length cannot be
 */
export function headerBytes(path: string, prefix: Uint8Array, fileBytes: number): number {
  if (prefix.length < PREFIX_BYTES) throw corrupt(path, `${fileBytes} bytes cannot hold a header`);
  const length = new DataView(prefix.buffer, prefix.byteOffset).getBigUint64(0, true);
  const bound = Math.min(MAX_HEADER_BYTES, fileBytes - PREFIX_BYTES);
  if (length < 2n || length > BigInt(bound)) {
    throw corrupt(path, `header length must be in [2, ${bound}]; got ${length}`);
  }
  return Number(length);
}

/**
 * Reads a header and holds it against the file: each tensor has exactly the bytes of its shape and type, and together
 * they fill the rest of the file without overlap or hole.
 *
 * @param bytes the header alone, without the 8 bytes before it
 * @throws data_corrupt, or unimplemented for an element type of the format that clip-gen does not have
 */
export function parseHeader(path: string, bytes: Uint8Array, fileBytes: number): Header {
  let raw: RawHeader;
  try {
    raw = parseHeaderText(new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes));
  } catch (cause) {
    throw corrupt(path, `header: ${cause instanceof Error ? cause.message : String(cause)}`, cause);
  }
  const dataStart = PREFIX_BYTES + bytes.length;
  const entries = raw.entries.map((entry) => checkedEntry(path, entry, dataStart));
  entries.sort((a, b) => a.byteOffset - b.byteOffset || a.byteLength - b.byteLength);
  let end = dataStart;
  for (const { name, byteOffset, byteLength } of entries) {
    if (byteOffset !== end) {
      const problem = byteOffset < end ? 'overlaps the tensor before it' : 'leaves a hole before it';
      throw corrupt(path, `tensor ${shown(name)} ${problem}: starts at byte ${byteOffset}, must start at ${end}`);
    }
    end = byteOffset + byteLength;
    if (end > fileBytes) {
      throw corrupt(path, `tensor ${shown(name)} ends at byte ${end} of a file of ${fileBytes} bytes`);
    }
  }
  if (end !== fileBytes) {
    throw corrupt(path, `the tensors end at byte ${end} of a file of ${fileBytes} bytes`);
  }
  return { metadata: raw.metadata, entries: new Map(entries.map((entry) => [entry.name, entry])) };
}

function checkedEntry(path: string, { name, dtype: dtypeName, shape, dataOffsets }: RawEntry, start: number) {
  const dtype = dtypeOf(dtypeName);
  if (dtype === undefined) throw corrupt(path, `tensor ${shown(name)} has unknown dtype ${shown(dtypeName)}`);
  if (dtype === 'foreign') {
    const readable = Object.values(NAME_OF).join(', ');
    throw new ClipGenError(
      'unimplemented',
      `${path}: tensor ${shown(name)} has dtype ${dtypeName}, which is not read here; convert it to one of ${readable}`,
    );
  }
  const [begin, end, ...more] = dataOffsets;
  if (begin === undefined || end === undefined || more.length > 0 || begin > end) {
    const got = `[${dataOffsets.slice(0, 4).join(', ')}]`;
    throw corrupt(path, `data_offsets of tensor ${shown(name)} must be [begin, end] with begin <= end; got ${got}`);
  }
  let byteLength = bytesPerElement(dtype);
  for (const size of shape) {
    byteLength *= size;
    if (!Number.isSafeInteger(byteLength)) {
      throw corrupt(path, `shape [${shape.join(', ')}] of tensor ${shown(name)} must hold fewer than 2^53 bytes`);
    }
  }
  if (end - begin !== byteLength) {
    throw corrupt(
      path,
      `tensor ${shown(name)} must have ${byteLength} bytes for ${dtypeName} [${shape.join(', ')}]; got ${end - begin}`,
    );
  }
  return { name, dtype, shape, byteOffset: start + begin, byteLength } satisfies TensorEntry;
}

/** A name out of a file, safe to put into a message. */
export function shown(name: string): string {
  return JSON.stringify(name.length > 80 ? `${name.slice(0, 77)}...` : name);
}

/** The error of a file that breaks the format: data_corrupt with its path and what is wrong; the caller throws it. */
export function corrupt(path: string, problem: string, cause?: unknown): ClipGenError {
  return new ClipGenError('data_corrupt', `${path}: ${problem}; the file is damaged or not safetensors`, { cause });
}
