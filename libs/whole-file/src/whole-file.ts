import { randomBytes } from 'node:crypto';
import { mkdir, open, realpath, rename, rm, stat, type FileHandle } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { ClipGenError } from '@clip-gen/errors';

/** Bytes of one write call; the system takes at most 2^31 - 1. */
const CHUNK_BYTES = 2 ** 30;
/** Of a name's letters (at most 180 bytes), so that the temporary name is no longer than file systems take. */
const KEPT_LETTERS = 60;

/**
 * Writes a file under a temporary name beside `path`, syncs it and renames it: `path` holds the old file or the whole new
 * one, never a part, and after the promise it also does so through a power cut. Where `path` is a link, the file that it
 * leads to is the one that is replaced.
 *
 * @param write fills the file, which is open at its beginning and stays this function's
 * @throws not_found for a folder that is not there; failed_precondition for one that cannot be written to, a `path` that is
 * a folder or device (before `write` is called), or a full disk; what `write` throws. Then `path` is as it was
 */
export async function writeWhole(path: string, write: (file: FileHandle) => Promise<void>): Promise<void> {
  const there = await stat(path).catch(() => undefined);
  if (there && !there.isFile()) throw cannotWrite(path, there.isDirectory() ? 'it is a folder' : 'it is no file');
  const target = there ? await realpath(path) : path;
  const kept = basename(target).slice(0, KEPT_LETTERS);
  const temporary = join(dirname(target), `.${kept}.${process.pid}.${randomBytes(4).toString('hex')}.tmp`);
  try {
    const file = await open(temporary, 'wx');
    try {
      await write(file);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, target);
  } catch (cause) {
    await rm(temporary, { force: true }).catch(() => undefined); // what went wrong before is what matters
    throw inWords(path, temporary, cause);
  }
  await syncFolder(dirname(target));
}

/**
 * Makes a folder and those above it, unless it is there.
 *
 * @throws failed_precondition where a file is in its way, or the system does not let it
 */
export async function makeFolder(path: string): Promise<void> {
  await mkdir(path, { recursive: true }).catch((cause: unknown) => {
    const code = cause instanceof Error && 'code' in cause ? String(cause.code) : String(cause);
    const reason = code === 'EEXIST' ? 'a file of that name is there' : (REASONS[code] ?? code);
    throw new ClipGenError('failed_precondition', `the folder ${path} cannot be made: ${reason}; name another`, {
      cause,
    });
  });
}

/** Writes all bytes from the file's present place on, in calls of a size that every system takes. */
export async function writeBytes(file: FileHandle, bytes: Uint8Array): Promise<void> {
  for (let done = 0; done < bytes.length;) {
    done += (await file.write(bytes, done, Math.min(CHUNK_BYTES, bytes.length - done))).bytesWritten;
  }
}

/** What the system's codes mean. */
const REASONS: Readonly<Record<string, string>> = {
  ENOTDIR: 'a file is in the place of its folder',
  EISDIR: 'it is a folder',
  ENOTEMPTY: 'it is a folder',
  EACCES: 'no permission',
  EPERM: 'no permission',
  EROFS: 'the disk is read-only',
  ENOSPC: 'the disk is full',
  EDQUOT: 'the disk quota is used up',
  ENAMETOOLONG: 'the name is too long',
};

/** What the system says of the file that is written, with what to do; what it says of others, and all else, as it is. */
function inWords(path: string, temporary: string, cause: unknown): unknown {
  if (!(cause instanceof Error) || !('syscall' in cause) || !('code' in cause)) return cause;
  const ofOther = 'path' in cause ? cause.path !== temporary : cause.syscall === 'read';
  if (ofOther) return cause;
  if (cause.code === 'ENOENT') {
    return new ClipGenError('not_found', `${path} cannot be written: make the folder ${dirname(path)} first`, {
      cause,
    });
  }
  return cannotWrite(path, REASONS[String(cause.code)] ?? String(cause.code), cause);
}

function cannotWrite(path: string, reason: string, cause?: unknown): ClipGenError {
  return new ClipGenError('failed_precondition', `${path} cannot be written: ${reason}`, { cause });
}

/** What systems say that do not let a folder be opened or synced: they do without. */
const NO_FOLDER_SYNC = new Set(['EACCES', 'EPERM', 'EISDIR', 'EINVAL', 'ENOTSUP']);

/** Makes the new name itself last through a power cut, where the system can. */
async function syncFolder(folder: string): Promise<void> {
  if (process.platform === 'win32') return;
  try {
    const handle = await open(folder, 'r');
    try {
      await handle.sync();
    } finally {
      await handle.close();
    }
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && NO_FOLDER_SYNC.has(String(error.code)))) throw error;
  }
}
