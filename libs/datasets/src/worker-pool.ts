import { Worker } from 'node:worker_threads';
import { ClipGenError } from '@clip-gen/errors';
import type { Answer, CacheMessage, Job, Request, ResultOf } from './worker-messages.ts';

interface Waiting {
  readonly resolve: (result: never) => void;
  readonly reject: (error: ClipGenError) => void;
}

interface Thread {
  readonly worker: Worker;
  readonly waiting: Map<number, Waiting>;
}

const ENTRY = new URL('./worker-entry.mjs', import.meta.url);

/** Worker threads that decode and cut pictures. They keep the process alive only while a job is under way. */
export class WorkerPool {
  readonly #threads: Thread[];
  #nextId = 0;
  /** Why no thread is left. */
  #ended: ClipGenError | undefined;

  constructor(count: number) {
    this.#threads = Array.from({ length: count }, () => this.#start());
  }

  /** Threads alive. */
  get size(): number {
    return this.#threads.length;
  }

  /** Runs a job on the thread with the least to do. @throws what the job threw; failed_precondition when closed */
  run<J extends Job>(job: J): Promise<ResultOf<J>> {
    const thread = this.#threads.reduce<Thread | undefined>(
      (best, each) => (best === undefined || each.waiting.size < best.waiting.size ? each : best),
      undefined,
    );
    if (thread === undefined) {
      return Promise.reject(
        this.#ended ?? new ClipGenError('failed_precondition', 'the image dataset must be open; it was closed'),
      );
    }
    const id = this.#nextId++;
    return new Promise<ResultOf<J>>((resolve, reject) => {
      thread.waiting.set(id, { resolve, reject });
      thread.worker.ref();
      thread.worker.postMessage({ id, job } satisfies Request);
    });
  }

  /** Sends the cache to every thread. */
  share(message: CacheMessage): void {
    for (const { worker } of this.#threads) worker.postMessage(message);
  }

  /** Ends the threads; jobs under way are rejected as cancelled. Calling it again does nothing. */
  async close(): Promise<void> {
    this.#ended = undefined;
    const threads = this.#threads.splice(0);
    for (const thread of threads) fail(thread, new ClipGenError('cancelled', 'the image dataset was closed'));
    await Promise.all(threads.map(({ worker }) => worker.terminate()));
  }

  #start(): Thread {
    // No inherited flags: a test runner's or debugger's are not meant for this thread.
    const worker = new Worker(ENTRY, { execArgv: [], name: 'clip-gen-images' });
    const thread: Thread = { worker, waiting: new Map() };
    worker.on('message', (answer: Answer) => settle(thread, answer));
    worker.on('error', (cause) => this.#lost(thread, `failed: ${cause.message}`, cause));
    worker.on('exit', (code) => this.#lost(thread, `ended with code ${code}`));
    worker.unref();
    return thread;
  }

  #lost(thread: Thread, how: string, cause?: unknown): void {
    const at = this.#threads.indexOf(thread);
    if (at < 0) return;
    this.#threads.splice(at, 1);
    this.#ended = new ClipGenError('internal', `an image worker thread ${how}`, { cause });
    fail(thread, this.#ended);
  }
}

function settle(thread: Thread, answer: Answer): void {
  const waiting = thread.waiting.get(answer.id);
  thread.waiting.delete(answer.id);
  if (thread.waiting.size === 0) thread.worker.unref();
  if ('error' in answer) waiting?.reject(new ClipGenError(answer.error.code, answer.error.message));
  else waiting?.resolve(answer.result as never);
}

function fail(thread: Thread, error: ClipGenError): void {
  for (const { reject } of thread.waiting.values()) reject(error);
  thread.waiting.clear();
}
