import { open, stat } from 'node:fs/promises';
import { ClipGenError } from '@clip-gen/errors';
import type { z } from 'zod';

/** Settings, configurations and records are far smaller: 1 MiB. */
export const MAX_TEXT_BYTES = 1 << 20;
/** Fields in one message. */
const SHOWN = 4;

/**
 * The whole of a small text file, UTF-8.
 *
 * @throws not_found when there is none; resource_exhausted beyond 1 MiB; data_corrupt when it is not text
 * @throws failed_precondition, with the reason, when it is no file or cannot be read
 */
export async function readText(path: string): Promise<string> {
  try {
    // Before it is opened: opening a named pipe would wait for a writer.
    const found = await stat(path);
    if (!found.isFile()) throw new ClipGenError('failed_precondition', `${path} cannot be read (it is not a file)`);
    if (found.size > MAX_TEXT_BYTES) throw tooLarge(path, found.size);
    return decode(path, await readBytes(path));
  } catch (cause) {
    if (cause instanceof ClipGenError) throw cause;
    const { code } = cause as NodeJS.ErrnoException;
    if (code === 'ENOENT') throw new ClipGenError('not_found', `${path} does not exist`, { cause });
    throw new ClipGenError('failed_precondition', `${path} cannot be read (${code ?? String(cause)})`, { cause });
  }
}

/** At most the limit, also of a file that grows. */
async function readBytes(path: string): Promise<Uint8Array> {
  const file = await open(path, 'r');
  try {
    const buffer = new Uint8Array(MAX_TEXT_BYTES + 1);
    let length = 0;
    for (;;) {
      const { bytesRead } = await file.read(buffer, length, buffer.length - length);
      length += bytesRead;
      if (length > MAX_TEXT_BYTES) throw tooLarge(path, length);
      if (bytesRead === 0) return buffer.subarray(0, length);
    }
  } finally {
    await file.close();
  }
}

function tooLarge(path: string, size: number): ClipGenError {
  return new ClipGenError('resource_exhausted', `${path} must have at most ${MAX_TEXT_BYTES} bytes; got ${size}`);
}

function decode(path: string, bytes: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (cause) {
    throw new ClipGenError('data_corrupt', `${path} must be UTF-8 text`, { cause });
  }
}

/** `progress.epoch: Too small: …`, the first few things that do not fit. */
export function describeIssues(error: z.ZodError): string {
  return error.issues
    .slice(0, SHOWN)
    .map(({ path, message }) => (path.length === 0 ? message : `${path.join('.')}: ${message}`))
    .join('; ');
}
