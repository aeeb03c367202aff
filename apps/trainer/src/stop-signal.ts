/** Exit code of a training that was asked to stop and can go on: EX_TEMPFAIL of sysexits.h. */
export const STOPPED_EXIT_CODE = 75;

/** A training was asked to stop before its first step: there is nothing to keep but what is on disk already. */
export class StoppedEarly extends Error {
  override readonly name = 'StoppedEarly';
}

const SIGNALS: readonly NodeJS.Signals[] = ['SIGINT', 'SIGTERM', 'SIGUSR1'];

/**
 * A request to stop: the first Ctrl-C, SIGTERM or SIGUSR1, the end of the launcher, or a call of `request`. A second
 * signal ends the process at once.
 */
export class StopSignal {
  /** Work goes on that `during` no longer waits for. */
  abandoned = false;
  readonly #controller = new AbortController();
  readonly #onRequest: () => void;
  readonly #handler: () => void;
  readonly #onLauncherLost = (): void => this.request();

  constructor(onRequest: () => void) {
    this.#onRequest = onRequest;
    this.#handler = () => {
      if (this.requested) process.exit(STOPPED_EXIT_CODE);
      this.request();
    };
    for (const signal of SIGNALS) process.on(signal, this.#handler);
    process.on('disconnect', this.#onLauncherLost);
    process.channel?.unref(); // listening must not keep the process alive
  }

  get requested(): boolean {
    return this.#controller.signal.aborted;
  }

  /** Asks to stop; again does nothing. */
  request(): void {
    if (this.requested) return;
    this.#controller.abort();
    this.#onRequest();
  }

  /** @throws StoppedEarly when a stop was requested */
  check(): void {
    if (this.requested) throw new StoppedEarly('stopped');
  }

  /**
   * Waits for work that cannot be ended, but no longer than to the request; what it yields after that goes to `discard`.
   *
   * @throws StoppedEarly at the request
   */
  async during<T>(work: Promise<T>, discard: (late: T) => unknown): Promise<T> {
    const { signal } = this.#controller;
    let left: (() => void) | undefined;
    const stopped = new Promise<never>((_, reject) => {
      left = () => reject(new StoppedEarly('stopped'));
      if (signal.aborted) left();
      else signal.addEventListener('abort', left, { once: true });
    });
    try {
      return await Promise.race([work, stopped]);
    } catch (error) {
      if (error instanceof StoppedEarly) {
        this.abandoned = true;
        void work.then(discard).catch(() => undefined);
      }
      throw error;
    } finally {
      signal.removeEventListener('abort', left!);
    }
  }

  dispose(): void {
    for (const signal of SIGNALS) process.off(signal, this.#handler);
    process.off('disconnect', this.#onLauncherLost);
  }
}
