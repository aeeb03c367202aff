import { setTimeout as sleep } from 'node:timers/promises';
import { ClipGenError } from '@clip-gen/errors';

/** Asks once; the number is that of the question. @throws cancelled when the signal aborts */
export type Question = (number: number, signal: AbortSignal) => Promise<unknown>;

/** How hard to ask. */
export interface Load {
  /** Each asks again as soon as it has its answer. */
  readonly clients: number;
  /** The window that counts is at least as long. */
  readonly seconds: number;
}

/** What came back in the window. */
export interface LoadResult {
  /** Of the answers, in milliseconds, rising. */
  readonly latencies: readonly number[];
  /** From the answer that opened the window to the one that closed it. */
  readonly seconds: number;
  /** Questions that were refused because too much waited. */
  readonly refused: number;
  /** Questions whose time was up. */
  readonly late: number;
}

/** A refused client comes back when it was told to, but no later than this. */
const MAX_PAUSE_MS = 1_000;
const OVERLOAD: ReadonlySet<string> = new Set(['resource_exhausted', 'deadline_exceeded']);

/**
 * Closed loop: so many clients, each with one question open at a time. The window opens when every client has come back
 * once, so that queues are as full as they get, and closes with the first answer after its time; what is open then is
 * cancelled and does not count.
 *
 * @throws what a question throws but `resource_exhausted` and `deadline_exceeded`, which are counted
 */
export async function closedLoop(ask: Question, { clients, seconds }: Load): Promise<LoadResult> {
  const latencies: number[] = [];
  let [refused, late, asked, warm] = [0, 0, 0, 0];
  let opened = Infinity;
  let closed = Infinity;
  const end = new AbortController();
  const open = new Set<AbortController>(); // one a question: fetch leaves its listeners on a signal
  end.signal.addEventListener('abort', () => {
    for (const question of open) question.abort();
  });
  const client = async (): Promise<void> => {
    for (let round = 0; !end.signal.aborted; round++) {
      const start = performance.now();
      const question = new AbortController();
      open.add(question);
      const failure = await ask(asked++, question.signal).then(
        () => undefined,
        (error: unknown) => ({ error }),
      );
      open.delete(question);
      if (end.signal.aborted) return;
      const now = performance.now();
      const counts = now >= opened;
      if (round === 0 && ++warm === clients) opened = now;
      if (!failure) {
        if (counts) latencies.push(now - start);
        if (counts && now - opened >= seconds * 1e3) {
          closed = now;
          end.abort();
        }
        continue;
      }
      const { code, retryAfterMs = MAX_PAUSE_MS } = overload(failure.error);
      if (counts && code === 'resource_exhausted') refused++;
      if (counts && code === 'deadline_exceeded') late++;
      const pause = Math.min(retryAfterMs, MAX_PAUSE_MS);
      await sleep(pause, undefined, { signal: end.signal }).catch(() => undefined);
    }
  };
  await Promise.all(
    Array.from({ length: clients }, () =>
      client().catch((error: unknown) => {
        end.abort();
        throw error;
      }),
    ),
  );
  return { latencies: latencies.sort((a, b) => a - b), seconds: (closed - opened) / 1e3, refused, late };
}

/** What of a question's failures is an answer under load. @throws every other */
function overload(error: unknown): ClipGenError {
  if (error instanceof ClipGenError && OVERLOAD.has(error.code)) return error;
  throw error;
}

/** Answers a second. */
export const rate = ({ latencies, seconds }: LoadResult): number => latencies.length / seconds;

/** The value that a share `p` of the values does not exceed, by nearest rank; NaN of none. @param rising sorted */
export function percentile(rising: readonly number[], p: number): number {
  return rising[Math.max(0, Math.ceil(p * rising.length) - 1)] ?? NaN;
}

/** Two windows of the same load as one. */
export function together(a: LoadResult, b: LoadResult): LoadResult {
  return {
    latencies: [...a.latencies, ...b.latencies].sort((x, y) => x - y),
    seconds: a.seconds + b.seconds,
    refused: a.refused + b.refused,
    late: a.late + b.late,
  };
}
