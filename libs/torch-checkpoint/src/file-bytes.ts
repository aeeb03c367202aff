import { open, type FileHandle } from 'node:fs/promises';
import { ClipGenError } from '@clip-gen/errors';

/** Bytes of one read call; the system takes at most 2^31 - 1. */
const CHUNK_BYTES = 2 ** 30;

/** A file that is read by offset. Reads may run at the same time. */
export class FileBytes {
  private constructor(
    readonly path: string,
    /** Bytes of the file when it was opened. */
    readonly size: number,
    private readonly handle: FileHandle,
  ) {}

  /** @throws not_found, failed_precondition when it cannot be read, invalid_argument when it is no file */
  static async open(path: string): Promise<FileBytes> {
    let handle: FileHandle;
    try {
      handle = await open(path, 'r');
    } catch (cause) {
      const reason = cause instanceof Error && 'code' in cause ? String(cause.code) : String(cause);
      if (reason === 'ENOENT') throw new ClipGenError('not_found', `${path} does not exist`, { cause });
      throw new ClipGenError('failed_precondition', `${path} cannot be read (${reason})`, { cause });
    }
    try {
      const stat = await handle.stat();
      if (!stat.isFile()) throw new ClipGenError('invalid_argument', `${path} must be a file`);
      return new FileBytes(path, stat.size, handle);
    } catch (cause) {
      await handle.close();
      throw cause;
    }
  }

  /**
   * `length` bytes from `offset` on, in memory of their own; the caller's.
   *
   * @throws data_corrupt when the file does not reach so far; nothing is allocated then
   */
  async read(offset: number, length: number, what: string): Promise<Uint8Array<ArrayBuffer>> {
    this.#checkRange(offset, length, what);
    const bytes = new Uint8Array(length);
    await this.#fill(bytes, offset, what);
    return bytes;
  }

  /** Fills `target`, which stays the caller's. @throws data_corrupt when the file does not reach so far */
  async readInto(target: Uint8Array, offset: number, what: string): Promise<void> {
    this.#checkRange(offset, target.length, what);
    await this.#fill(target, offset, what);
  }

  #checkRange(offset: number, length: number, what: string): void {
    const sound = Number.isSafeInteger(offset) && Number.isSafeInteger(length) && offset >= 0 && length >= 0;
    if (sound && offset + length <= this.size) return;
    throw corrupt(this.path, `${what} must end within the file's ${this.size} bytes; is ${length} from ${offset} on`);
  }

  async #fill(bytes: Uint8Array, offset: number, what: string): Promise<void> {
    for (let done = 0; done < bytes.length;) {
      const length = Math.min(CHUNK_BYTES, bytes.length - done);
      const { bytesRead } = await this.handle.read(bytes, done, length, offset + done);
      if (bytesRead === 0) throw corrupt(this.path, `${what} is cut short`);
      done += bytesRead;
    }
  }

  /** Closes the file once reads under way are done. May be called again. */
  async close(): Promise<void> {
    await this.handle.close();
  }
}

/** The error of a file whose bytes are not what they must be. */
export function corrupt(path: string, problem: string, cause?: unknown): ClipGenError {
  const text = `${path}: ${problem}; the file is damaged or no PyTorch checkpoint`;
  return new ClipGenError('data_corrupt', text, { cause });
}

/** A name out of a file, safe to put into a message. */
export function shown(name: string): string {
  return JSON.stringify(name.length > 80 ? `${name.slice(0, 77)}...` : name);
}
