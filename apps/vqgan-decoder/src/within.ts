import { ClipGenError } from '@clip-gen/errors';

/**
 * The values of a source as they come, as long as none takes longer than `idleMs`.
 *
 * @throws deadline_exceeded when one does; cancelled as soon as `signal` aborts, whatever the source does
 */
export async function* within<T>(
  source: AsyncIterable<T>,
  idleMs: number,
  signal: AbortSignal,
): AsyncGenerator<T, void, undefined> {
  const iterator = source[Symbol.asyncIterator]();
  let waiting = false;
  try {
    for (;;) {
      waiting = true;
      const next = await settleWithin(iterator.next(), idleMs, signal);
      waiting = false;
      if (next.done) return;
      yield next.value;
    }
  } finally {
    // A source that we still wait for could keep us here for as long as it likes.
    if (!waiting) await iterator.return?.();
    else iterator.return?.().catch(() => undefined);
  }
}

function settleWithin<T>(promise: Promise<T>, ms: number, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const over = (): void => {
      clearTimeout(timer);
      signal.removeEventListener('abort', aborted);
    };
    const timer = setTimeout(() => {
      over();
      reject(new ClipGenError('deadline_exceeded', `the next message must come within ${ms} ms; none did`));
    }, ms);
    const aborted = (): void => {
      over();
      reject(new ClipGenError('cancelled', 'the caller has gone', { cause: signal.reason }));
    };
    signal.addEventListener('abort', aborted, { once: true });
    if (signal.aborted) aborted();
    promise.then(resolve, reject).finally(over);
  });
}
