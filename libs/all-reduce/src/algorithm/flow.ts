/** Bytes that another rank sends. */
export interface Receipt {
  /** A place among the ranks of the exchange. */
  readonly from: number;
  readonly channel: number;
  readonly bytes: Uint8Array;
}

/**
 * What a flow waits for before it goes on: bytes from another rank, or that everything that was sent in its exchange, also
 * by other flows, may be changed.
 */
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
  let isOver = false;
  let isRunning = false;
  let isReady = false;
  const end = (error?: Error): void => {
    if (isOver) return;
    isOver = true;
    ended(error);
  };
  const goOn = (error?: Error): void => {
    if (error) return end(error);
    isReady = true;
    if (isRunning) return; // the loop below goes on: no deeper stack for every wait
    isRunning = true;
    while (isReady && !isOver) {
      isReady = false;
      try {
        const { done, value } = flow.next();
        if (done) end();
        else wait(value, goOn);
      } catch (thrown) {
        end(thrown instanceof Error ? thrown : new Error(String(thrown)));
      }
    }
    isRunning = false;
  };
  goOn();
}
