import type { GenerationEvent } from './generation-event.ts';

/**
 * Events from the work to its one reader. The work never waits for a slow reader: of progress only the latest is kept,
 * and of everything else a request has few.
 */
export class EventChannel {
  readonly #events: GenerationEvent[] = [];
  #ended: { readonly error?: unknown } | undefined;
  #wake: () => void = () => undefined;

  push(event: GenerationEvent): void {
    if (this.#ended) return;
    if (event.kind === 'progress' && this.#events.at(-1)?.kind === 'progress') this.#events.pop();
    this.#events.push(event);
    this.#wake();
  }

  /** No more events; with an error, the reader gets it after those that are there. */
  end(failure: { readonly error?: unknown } = {}): void {
    this.#ended ??= failure;
    this.#wake();
  }

  /** Forgets what was not read; the reader gets the error next, also where all had ended well. */
  drop(error: unknown): void {
    this.#events.length = 0;
    this.#ended = { error };
    this.#wake();
  }

  async *read(): AsyncGenerator<GenerationEvent, void, undefined> {
    for (;;) {
      const event = this.#events.shift();
      if (event) yield event;
      else if (!this.#ended) await new Promise<void>((resolve) => (this.#wake = resolve));
      else if ('error' in this.#ended) throw this.#ended.error;
      else return;
    }
  }
}
