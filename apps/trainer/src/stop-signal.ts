/** Exit code of a training that was asked to stop and can go on: EX_TEMPFAIL of sysexits.h. */
export const STOPPED_EXIT_CODE = 75;

/** Turns the first Ctrl-C (or SIGTERM) into a request; a second one ends the process at once. */
export class StopSignal {
  requested = false;
  readonly #handler: () => void;

  constructor(onRequest: () => void) {
    this.#handler = () => {
      if (this.requested) process.exit(STOPPED_EXIT_CODE);
      this.requested = true;
      onRequest();
    };
    process.on('SIGINT', this.#handler);
    process.on('SIGTERM', this.#handler);
  }

  dispose(): void {
    process.off('SIGINT', this.#handler);
    process.off('SIGTERM', this.#handler);
  }
}
