import { mkdir, open, type FileHandle } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { ClipGenError, invalidArgument } from '@clip-gen/errors';
import { encodeEvent, type EventContent, type PngImage } from './event.ts';
import { tfRecord } from './tf-record.ts';

/** How long and how much may wait before it is written. */
export interface EventWriterOptions {
  /** Longest time that an event waits in memory, in milliseconds: how far TensorBoard may lag. Default 2000. */
  readonly flushAfterMs?: number;
  /** Bytes of waiting events that start a write at once. Default 256 KiB. */
  readonly flushAtBytes?: number;
  /** Bytes of events that may wait for a slow disk. Default 64 MiB. */
  readonly maxBufferedBytes?: number;
  /** Milliseconds since 1970. Default `Date.now`; tests give a fixed one. */
  readonly now?: () => number;
}

const MAX_TAG_LENGTH = 1024;
const MAX_IMAGE_SIDE = 65_536;

/**
 * Appends events to one file. Recording returns at once: events wait in memory and are written in the background, when
 * enough of them wait or the oldest is old enough. A write that failed is reported by the next call of any method.
 */
export class EventWriter {
  /** The event file. */
  readonly path: string;
  readonly #handle: FileHandle;
  readonly #options: Required<EventWriterOptions>;
  #waiting: Uint8Array[] = [];
  #waitingBytes = 0;
  #writing: Promise<void> = Promise.resolve();
  #writingBytes = 0;
  #timer: NodeJS.Timeout | undefined;
  #failure: unknown;
  #closed: Promise<void> | undefined;

  private constructor(path: string, handle: FileHandle, options: Required<EventWriterOptions>) {
    this.path = path;
    this.#handle = handle;
    this.#options = options;
  }

  /**
   * Makes `folder` where it is missing, and a new event file in it,
   * `events.out.tfevents.<seconds>.<host>.<process id>`, with a number at the end where that exists.
   */
  static async open(folder: string, options: EventWriterOptions = {}): Promise<EventWriter> {
    const all = {
      flushAfterMs: options.flushAfterMs ?? 2000,
      flushAtBytes: options.flushAtBytes ?? 256 * 1024,
      maxBufferedBytes: options.maxBufferedBytes ?? 64 * 1024 * 1024,
      now: options.now ?? Date.now,
    };
    for (const name of ['flushAfterMs', 'flushAtBytes', 'maxBufferedBytes'] as const) {
      if (!(all[name] >= 0 && all[name] < 2 ** 31)) throw invalidArgument(name, 'in [0, 2^31)', all[name]);
    }
    await mkdir(folder, { recursive: true });
    const name = `events.out.tfevents.${Math.floor(all.now() / 1000)}.${hostname()}.${process.pid}`;
    const { path, handle } = await openNew(join(folder, name));
    const writer = new EventWriter(path, handle, all);
    writer.#record(0, { kind: 'version' });
    return writer;
  }

  /**
   * Records one number.
   *
   * @param tag name of the curve; `/` groups curves, as in `train/loss`
   * @param value stored as float32; NaN and infinities are kept and shown
   * @param step integer in [0, 2^53)
   */
  scalar(tag: string, value: number, step: number): void {
    this.scalars({ [tag]: value }, step);
  }

  /** Records several numbers of one step, by tag, as one event. */
  scalars(values: Readonly<Record<string, number>>, step: number): void {
    const entries = Object.entries(values);
    for (const [tag] of entries) checkTag(tag);
    this.#record(step, { kind: 'scalars', values: entries });
  }

  /**
   * Records a picture. Its bytes are copied.
   *
   * @throws invalid_argument when the bytes are not a PNG file of that width and height
   */
  image(tag: string, image: PngImage, step: number): void {
    checkTag(tag);
    checkPng(image);
    this.#record(step, { kind: 'image', tag, image });
  }

  /** Records a text, which TensorBoard shows as Markdown. */
  text(tag: string, text: string, step: number): void {
    checkTag(tag);
    this.#record(step, { kind: 'text', tag, text });
  }

  /** Settles when all that was recorded before is in the file. */
  async flush(): Promise<void> {
    this.#startWriting();
    await this.#writing;
    this.#throwFailure();
  }

  /** Writes what waits and closes the file. May be called again. */
  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #close(): Promise<void> {
    this.#startWriting();
    await this.#writing;
    await this.#handle.close();
    this.#throwFailure();
  }

  #record(step: number, content: EventContent): void {
    if (this.#closed !== undefined) throw new ClipGenError('failed_precondition', `${this.path} is closed`);
    this.#throwFailure();
    if (!Number.isSafeInteger(step) || step < 0) throw invalidArgument('step', 'an integer in [0, 2^53)', step);
    const record = tfRecord(encodeEvent(this.#options.now() / 1000, step, content));
    const buffered = this.#waitingBytes + this.#writingBytes + record.length;
    if (buffered > this.#options.maxBufferedBytes) {
      throw new ClipGenError(
        'resource_exhausted',
        `events that wait to be written must take at most ${this.#options.maxBufferedBytes} bytes; got ${buffered}: ` +
          'await flush() between them',
      );
    }
    this.#waiting.push(record);
    this.#waitingBytes += record.length;
    if (this.#waitingBytes >= this.#options.flushAtBytes) {
      this.#startWriting();
    } else {
      // The timer does not keep the process alive; close() writes what it would have.
      this.#timer ??= setTimeout(() => this.#startWriting(), this.#options.flushAfterMs).unref();
    }
  }

  #startWriting(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#waitingBytes === 0) return;
    const bytes = Buffer.concat(this.#waiting);
    this.#waiting = [];
    this.#waitingBytes = 0;
    this.#writingBytes += bytes.length;
    this.#writing = this.#writing.then(() => this.#append(bytes));
  }

  /** Never rejects: nothing awaits it while the caller computes. */
  async #append(bytes: Uint8Array): Promise<void> {
    try {
      // After a failed write the file may end in part of a record, and nothing after that could be read.
      if (this.#failure === undefined) await this.#handle.appendFile(bytes);
    } catch (cause) {
      this.#failure = cause;
    } finally {
      this.#writingBytes -= bytes.length;
    }
  }

  #throwFailure(): void {
    if (this.#failure === undefined) return;
    const reason = this.#failure instanceof Error ? this.#failure.message : String(this.#failure);
    throw new ClipGenError('unavailable', `${this.path} cannot be written: ${reason}`, { cause: this.#failure });
  }
}

async function openNew(base: string): Promise<{ path: string; handle: FileHandle }> {
  for (let count = 0; ; count++) {
    const path = count === 0 ? base : `${base}.${count}`;
    try {
      return { path, handle: await open(path, 'ax') };
    } catch (cause) {
      if (!(cause instanceof Error && 'code' in cause && cause.code === 'EEXIST')) throw cause;
    }
  }
}

function checkTag(tag: string): void {
  if (tag.length === 0 || tag.length > MAX_TAG_LENGTH) {
    throw invalidArgument('tag', `of 1 to ${MAX_TAG_LENGTH} characters`, tag);
  }
}

/** Signature, then the length and name of the IHDR chunk, which every PNG file has first (PNG specification, 5.2, 11.2.2). */
const PNG_START = Buffer.from('89504e470d0a1a0a0000000d49484452', 'hex');

function checkPng({ png, width, height }: PngImage): void {
  for (const [name, side] of Object.entries({ width, height })) {
    if (!Number.isInteger(side) || side < 1 || side > MAX_IMAGE_SIDE) {
      throw invalidArgument(`image.${name}`, `an integer in [1, ${MAX_IMAGE_SIDE}]`, side);
    }
  }
  if (png.length < 24 || PNG_START.compare(png, 0, PNG_START.length) !== 0) {
    throw invalidArgument('image.png', 'a PNG file', `${png.length} bytes of something else`);
  }
  const header = new DataView(png.buffer, png.byteOffset);
  const [actualWidth, actualHeight] = [header.getUint32(16), header.getUint32(20)];
  if (actualWidth !== width || actualHeight !== height) {
    throw invalidArgument('image.png', `a PNG file of ${width} x ${height} pixels`, `${actualWidth} x ${actualHeight}`);
  }
}
