import { ClipGenError } from '@clip-gen/errors';

interface Waiter {
  start(): void;
}

/**
 * Lets a bounded number of calls run at once; the others wait in order. Native runs happen on libuv's pool of four threads,
 * which also serves files and DNS: one thread is always left to them.
 */
export class CallQueue {
  #running = 0;
  readonly #waiting: Waiter[] = [];

  constructor(readonly limit: number) {}

  /** @throws cancelled when `signal` aborts before `call` has started */
  async run<T>(call: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    if (this.#running >= this.limit) await this.#turn(signal);
    else this.#running++;
    try {
      return await call();
    } finally {
      // The slot goes to the next in line without being given up, so that nobody can overtake.
      const next = this.#waiting.shift();
      if (next) next.start();
      else this.#running--;
    }
  }

  #turn(signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const waiter: Waiter = {
        start: () => {
          signal?.removeEventListener('abort', leave);
          resolve();
        },
      };
      const leave = (): void => {
        this.#waiting.splice(this.#waiting.indexOf(waiter), 1);
        reject(cancelled(signal));
      };
      this.#waiting.push(waiter);
      signal?.addEventListener('abort', leave, { once: true });
    });
  }
}

/** The error of an aborted run. */
export function cancelled(signal?: AbortSignal): ClipGenError {
  return new ClipGenError('cancelled', 'the run was aborted', { cause: signal?.reason });
}
