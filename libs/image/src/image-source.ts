import { open } from 'node:fs/promises';
import { ClipGenError, invalidArgument } from '@clip-gen/errors';

/** Largest file that is read unless told otherwise: 256 MiB. */
export const DEFAULT_MAX_BYTES = 256 * 1024 * 1024;

/** The bytes of a picture and what to call it in an error. */
export interface NamedBytes {
  readonly name: string;
  readonly bytes: Uint8Array;
}

/**
 * Reads a file, or takes bytes as they are (not copied), within a limit that is checked before anything is read.
 *
 * @param source a path, or the encoded bytes
 * @param maxBytes largest size accepted
 * @param name what errors call the picture; the path when left out
 * @throws not_found, invalid_argument (not a regular file), data_corrupt (empty), resource_exhausted (too large)
 */
export async function readImageSource(
  source: string | Uint8Array,
  maxBytes: number,
  name = typeof source === 'string' ? source : 'image',
): Promise<NamedBytes> {
  if (typeof source !== 'string') {
    checkSize(name, source.byteLength, maxBytes);
    return { name, bytes: source };
  }
  const file = await open(source).catch((cause: unknown) => {
    throw readError(name, cause);
  });
  try {
    const stat = await file.stat();
    if (!stat.isFile()) throw invalidArgument(`image ${name}`, 'a regular file', 'something else');
    checkSize(name, stat.size, maxBytes);
    const bytes = Buffer.allocUnsafeSlow(stat.size);
    let filled = 0;
    while (filled < stat.size) {
      const { bytesRead } = await file.read(bytes, filled, stat.size - filled, filled);
      if (bytesRead === 0) break;
      filled += bytesRead;
    }
    return { name, bytes: bytes.subarray(0, filled) };
  } finally {
    await file.close();
  }
}

function checkSize(name: string, size: number, maxBytes: number): void {
  if (size === 0) throw new ClipGenError('data_corrupt', `image ${name} is empty`);
  if (size > maxBytes) {
    throw new ClipGenError('resource_exhausted', `image ${name} must have at most ${maxBytes} bytes; got ${size}`);
  }
}

function readError(name: string, cause: unknown): ClipGenError {
  const code = cause instanceof Error && 'code' in cause ? cause.code : undefined;
  if (code === 'ENOENT' || code === 'ENOTDIR') {
    return new ClipGenError('not_found', `image ${name} does not exist`, { cause });
  }
  return new ClipGenError('failed_precondition', `image ${name} cannot be opened (${String(code)})`, { cause });
}
