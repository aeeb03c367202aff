import { ClipGenError } from '@clip-gen/errors';

export interface EventBufferOptions {
  /** How much the events in the buffer may weigh before whoever makes them has to wait. */
  readonly capacity: number;
  /** How long making may stand still for the reader, in milliseconds, added up over the buffer's life. */
  readonly stallMs: number;
}

/**
 * Between work that holds something dear and a reader whose speed is not ours: events wait here up to a weight, then the
 * work pauses, and when its pauses add up to too much it ends with `resource_exhausted`. One maker, one reader.
 */
export class EventBuffer<T> implements AsyncIterable<T> {
  readonly #events: { readonly event: T; readonly weight: number }[] = [];
  readonly #options: EventBufferOptions;
  #weight = 0;
  #stalledMs = 0;
  #end: { readonly error?: unknown } | undefined;
  #wakeReader: () => void = () => undefined;
  #wakeMaker: () => void = () => undefined;

  constructor(options: EventBufferOptions) {
    this.#options = options;
  }

  /** How long the maker has waited in all, in milliseconds. */
  get stalledMs(): number {
    return this.#stalledMs;
  }

  /** Adds an event; never waits. */
  push(event: T, weight: number): void {
    this.#events.push({ event, weight });
    this.#weight += weight;
    this.#wakeReader();
  }

  /**
   * Waits while the buffer is over its capacity: to be called before the next piece of work.
   *
   * @throws resource_exhausted when the reader has kept the maker waiting too long; cancelled
   */
  async room(signal: AbortSignal): Promise<void> {
    const { capacity, stallMs } = this.#options;
    while (this.#weight > capacity) {
      const left = stallMs - this.#stalledMs;
      if (left <= 0) {
        throw new ClipGenError(
          'resource_exhausted',
          `the answer must be read faster: the work has waited ${stallMs} ms in all for its reader`,
        );
      }
      const since = performance.now();
      await this.#somethingRead(left, signal);
      this.#stalledMs += performance.now() - since;
    }
  }

  /** No more events: the reader's loop ends once it has read all, and throws `error` if one is given. */
  end(outcome: { readonly error?: unknown } = {}): void {
    this.#end ??= outcome;
    this.#wakeReader();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<T, void, undefined> {
    for (;;) {
      const next = this.#events.shift();
      if (next) {
        this.#weight -= next.weight;
        this.#wakeMaker();
        yield next.event;
      } else if (this.#end) {
        if ('error' in this.#end) throw this.#end.error;
        return;
      } else {
        await new Promise<void>((resolve) => (this.#wakeReader = resolve));
      }
    }
  }

  /** Resolves when something was read or the time is up. */
  #somethingRead(ms: number, signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const finish = (): void => {
        clearTimeout(timer);
        signal.removeEventListener('abort', finish);
        if (signal.aborted) reject(new ClipGenError('cancelled', 'the caller has gone', { cause: signal.reason }));
        else resolve();
      };
      const timer = setTimeout(finish, ms);
      this.#wakeMaker = finish;
      signal.addEventListener('abort', finish, { once: true });
      if (signal.aborted) finish();
    });
  }
}
