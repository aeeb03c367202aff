import { Worker } from 'node:worker_threads';
import { ClipGenError } from '@clip-gen/errors';
import type { Failure } from '../failure.ts';
import type { GroupStatistics, Runner } from '../group.ts';
import { nativeCalls, type NativeCalls } from '../native/native-calls.ts';
import { LentTensors } from './lent-tensors.ts';
import type { Answer, ErrorMessage, PieceMessage, Request, ThreadOptions } from './messages.ts';

interface Waiting {
  resolve(value: unknown): void;
  reject(error: Error): void;
  /** What the thread works on: kept from the garbage collector until it answers. */
  readonly tensors: readonly Float32Array[];
}

type Numbered = Request extends infer R ? (R extends { readonly id: number } ? Omit<R, 'id'> : never) : never;

/** The computing thread's side of a rank's communication thread. It keeps the process alive only while calls are pending. */
export class ThreadRunner implements Runner {
  failure: Failure | undefined;
  readonly #worker: Worker;
  readonly #native: NativeCalls | undefined = nativeCalls();
  readonly #waiting = new Map<number, Waiting>();
  readonly #lent: LentTensors | undefined = this.#native && new LentTensors(this.#native.pageBytes);
  #memory: WebAssembly.Memory | undefined;
  #nextId = 0;
  #closed = false;
  #onJoined: { resolve(): void; reject(error: Error): void } | undefined;

  private constructor(options: ThreadOptions) {
    const entry = new URL('./communication-thread.js', import.meta.url);
    this.#worker = new Worker(entry, { execArgv: [], workerData: options, name: `clip-gen-rank-${options.rank}` });
    this.#worker.on('message', (answer: Answer) => this.#hear(answer));
    this.#worker.on('error', (error) => this.#ended(error.message));
    this.#worker.on('exit', (code) => this.#ended(`exit code ${code}`));
  }

  /** Starts the thread and joins. */
  static async start(options: ThreadOptions): Promise<ThreadRunner> {
    const runner = new ThreadRunner(options);
    try {
      await new Promise<void>((resolve, reject) => (runner.#onJoined = { resolve, reject }));
    } catch (error) {
      await runner.#worker.terminate();
      throw error;
    }
    runner.#worker.unref();
    return runner;
  }

  async run(...[call, tensors]: Parameters<Runner['run']>): Promise<void> {
    const copies: (() => void)[] = [];
    const pieces = tensors.map((tensor) => this.#piece(tensor, copies));
    await this.#ask({ kind: 'call', call, pieces }, tensors);
    for (const copyBack of copies) copyBack();
  }

  async allocate(elements: number): Promise<Float32Array> {
    const address = (await this.#ask({ kind: 'allocate', elements })) as number;
    return new Float32Array(this.#memory!.buffer, address, elements);
  }

  async lend(tensor: Float32Array): Promise<boolean> {
    const native = this.#native;
    if (!native || !this.#lent || tensor.length === 0) return false;
    // Whatever is not a WebAssembly memory shares its pages with others.
    const start = native.addressOf(new Uint8Array(tensor.buffer));
    if (start % native.pageBytes !== 0) return false;
    const request = { kind: 'lend', address: native.addressOf(tensor), bytes: tensor.byteLength } as const;
    return this.#lent.add(tensor, async () => (await this.#ask(request, [tensor])) as number | undefined);
  }

  async statistics(): Promise<GroupStatistics> {
    return (await this.#ask({ kind: 'statistics' })) as GroupStatistics;
  }

  abort(reason: string): void {
    this.#worker.postMessage({ kind: 'abort', reason } satisfies Request);
  }

  async close(): Promise<void> {
    const gone = this.#lent?.gone ?? [];
    await this.#ask({ kind: 'close', gone }).catch(() => undefined); // a thread that has ended has nothing to free
    this.#closed = true;
    await this.#worker.terminate();
  }

  #piece(tensor: Float32Array, copies: (() => void)[]): PieceMessage {
    const count = tensor.length;
    const buffer: ArrayBufferLike = tensor.buffer;
    if (buffer === this.#memory?.buffer) return { kind: 'heap', offset: tensor.byteOffset, count };
    const lentPlace = this.#lent?.placeOf(tensor);
    if (lentPlace !== undefined) return { kind: 'heap', offset: lentPlace, count };
    if (buffer instanceof SharedArrayBuffer) return { kind: 'view', view: tensor };
    if (count === 0) return { kind: 'view', view: new Float32Array(0) };
    if (this.#native) return { kind: 'address', address: this.#native.addressOf(tensor), count };
    const view = new Float32Array(new SharedArrayBuffer(count * 4));
    view.set(tensor);
    copies.push(() => tensor.set(view));
    return { kind: 'view', view };
  }

  #ask(request: Numbered, tensors: readonly Float32Array[] = []): Promise<unknown> {
    const id = this.#nextId++;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject, tensors });
      this.#worker.ref();
      this.#worker.postMessage({ ...request, id });
    });
  }

  #hear(answer: Answer): void {
    switch (answer.kind) {
      case 'joined':
        this.#memory = answer.memory;
        this.#onJoined?.resolve();
        return;
      case 'refused':
        this.#onJoined?.reject(errorOf(answer.error));
        return;
      case 'failed':
        this.failure = answer.failure;
        return;
      case 'done':
        return this.#settle(answer.id)?.resolve(answer.value);
      case 'error':
        return this.#settle(answer.id)?.reject(errorOf(answer.error));
    }
  }

  #settle(id: number): Waiting | undefined {
    const waiting = this.#waiting.get(id);
    this.#waiting.delete(id);
    if (this.#waiting.size === 0) this.#worker.unref();
    return waiting;
  }

  #ended(reason: string): void {
    const message = `this rank's communication thread has ended: ${reason}`;
    if (!this.#closed) this.failure ??= { code: 'unavailable', rank: undefined, message };
    const error = new ClipGenError('unavailable', message);
    this.#onJoined?.reject(error);
    for (const { reject } of this.#waiting.values()) reject(error);
    this.#waiting.clear();
    this.#lent?.clear();
  }
}

function errorOf({ code, message }: ErrorMessage): ClipGenError {
  return new ClipGenError(code, message);
}
