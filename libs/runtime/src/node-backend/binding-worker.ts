import { Worker } from 'node:worker_threads';
import { ClipGenError, type ErrorCode } from '@clip-gen/errors';

/** A tensor on its way between threads: its whole buffer changes hands. */
export interface Parcel {
  readonly name: string;
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly buffer: ArrayBuffer;
}

/** What the public binding says about an input or output. */
export interface BindingMetadata {
  readonly name: string;
  readonly isTensor: boolean;
  readonly type?: string;
  readonly shape?: readonly (number | string)[];
}

interface Requests {
  create: {
    request: { model: ArrayBuffer; provider: string; options: object };
    value: { inputs: readonly BindingMetadata[]; outputs: readonly BindingMetadata[] };
  };
  run: {
    request: { feeds: readonly Parcel[]; fetch: readonly string[] };
    value: { outputs: readonly Parcel[]; staging: readonly ArrayBuffer[] };
  };
  close: { request: object; value: undefined };
}

interface Answer {
  readonly id: number;
  readonly value?: unknown;
  readonly error?: { readonly message: string; readonly unavailable: boolean };
}

interface Waiting {
  resolve(value: unknown): void;
  reject(error: ClipGenError): void;
}

const MAX_EXIT_WAIT_MS = 60_000;
const alive = new Set<BindingWorker>();
let watchesExit = false;

function waitAtExit(worker: BindingWorker): void {
  alive.add(worker);
  if (watchesExit) return;
  watchesExit = true;
  process.once('exit', () => {
    for (const each of alive) each.wait();
  });
}

/** The thread that hosts the public binding. It keeps the process alive only while it has work. */
export class BindingWorker {
  /** Calls that the thread has not answered, where both threads see it. */
  readonly #pending = new Int32Array(new SharedArrayBuffer(4));
  readonly #worker = new Worker(new URL('./worker.js', import.meta.url), {
    execArgv: [],
    workerData: { pending: this.#pending },
  });
  readonly #waiting = new Map<number, Waiting>();
  #nextId = 0;
  #failure: ClipGenError | undefined;

  constructor() {
    waitAtExit(this);
    this.#worker.unref();
    this.#worker.on('message', (answer: Answer) => this.#settle(answer));
    this.#worker.on('error', (error) => this.#fail(oneLine(error.message)));
    this.#worker.on('exit', (code) => this.#fail(`its thread ended with code ${code}`));
  }

  /** @param transfer buffers that change hands */
  call<K extends keyof Requests>(
    kind: K,
    request: Requests[K]['request'],
    transfer: readonly ArrayBuffer[] = [],
  ): Promise<Requests[K]['value']> {
    if (this.#failure) return Promise.reject(this.#failure);
    const id = this.#nextId++;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      this.#worker.ref();
      Atomics.add(this.#pending, 0, 1);
      this.#worker.postMessage({ id, kind, ...request }, transfer);
    });
  }

  /** Blocks until the thread has answered every call; only for a process that is ending. */
  wait(): void {
    for (let pending = Atomics.load(this.#pending, 0); pending > 0; pending = Atomics.load(this.#pending, 0)) {
      if (Atomics.wait(this.#pending, 0, pending, MAX_EXIT_WAIT_MS) === 'timed-out') return;
    }
  }

  /** Only when no call is under way: the binding aborts the process when its thread ends inside one. */
  async terminate(): Promise<void> {
    alive.delete(this);
    await this.#worker.terminate();
  }

  #settle({ id, value, error }: Answer): void {
    const waiting = this.#waiting.get(id);
    this.#waiting.delete(id);
    if (this.#waiting.size === 0) this.#worker.unref();
    if (error) waiting?.reject(errorOfMessage(error.message, error.unavailable));
    else waiting?.resolve(value);
  }

  #fail(reason: string): void {
    alive.delete(this);
    this.#failure ??= new ClipGenError('unavailable', `onnxruntime-node is gone: ${reason}`);
    for (const { reject } of this.#waiting.values()) reject(this.#failure);
    this.#waiting.clear();
  }
}

// The binding gives no error codes; these words of its messages tell them.
const CODES: readonly (readonly [RegExp, ErrorCode])[] = [
  [/protobuf parsing failed|this is an invalid model|invalid graph/i, 'data_corrupt'],
  [/no such file|does not exist|NO_SUCHFILE/i, 'not_found'],
  [/not_implemented|not implemented|unsupported data type/i, 'unimplemented'],
];

function errorOfMessage(message: string, unavailable: boolean): ClipGenError {
  const text = oneLine(message);
  if (unavailable) return new ClipGenError('unavailable', text);
  const code = CODES.find(([words]) => words.test(text))?.[1] ?? 'internal';
  return new ClipGenError(code, `ONNX Runtime: ${text}`);
}

function oneLine(text: string): string {
  return text.replace(/\s+/g, ' ').trim();
}
