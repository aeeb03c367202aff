/** Bytes that another rank sends. */
export interface Receipt {
  /** A place among the ranks of the exchange. */
  readonly from: number;
  readonly channel: number;
  readonly bytes: Uint8Array;
}

/** What an algorithm waits for before it goes on: bytes from another rank, or that what it has sent may be changed. */
export type Wait = Receipt | 'sent';

/**
 * An algorithm on one rank, written as the steps between its waits. Whoever has what is waited for carries it on at once:
 * a promise would do so some turns of its queue later, which is long beside the bytes of a frame.
 */
export type Flow = Generator<Wait, void, void>;

/**
 * Carries a flow on to its end.
 *
 * @param wait calls `goOn` once, when what is waited for is there, at once or later, or with an error
 * @param ended is called once, with the error that ended the flow if there was one
 */
export function carryOn(
  flow: Flow,
  wait: (what: Wait, goOn: (error?: Error) => void) => void,
  ended: (error?: Error) => void,
): void {
  let isRunning = false;
  let isReady = false;
  const goOn = (error?: Error): void => {
    if (error) return ended(error);
    isReady = true;
    if (isRunning) return; // the loop below goes on: no deeper stack for every wait
    isRunning = true;
    try {
      while (isReady) {
        isReady = false;
        const { done, value } = flow.next();
        if (done) return ended();
        wait(value, goOn);
      }
      isRunning = false;
    } catch (thrown) {
      ended(thrown instanceof Error ? thrown : new Error(String(thrown)));
    }
  };
  goOn();
}
