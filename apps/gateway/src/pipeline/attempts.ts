import { setTimeout as sleep } from 'node:timers/promises';
import { ClipGenError } from '@clip-gen/errors';
import { ServiceError } from './blame.ts';

const FIRST_PAUSE_MS = 50;
const LONGEST_PAUSE_MS = 1000;

export interface AttemptOptions {
  /** In all, at least 1. */
  readonly attempts: number;
  /** Ends pauses and attempts. */
  readonly signal: AbortSignal;
  /** Told before each further attempt. */
  readonly onRetry: (error: ClipGenError) => void;
}

/**
 * Begins work again while its service is away: only for work that is a function of its input. Pauses double from 50 ms
 * to a second, by up to half at random so that requests do not come back as one.
 *
 * @throws what the last attempt threw, or the first error that another attempt does not mend
 */
export async function withAttempts(work: () => Promise<void>, options: AttemptOptions): Promise<void> {
  const { attempts, signal, onRetry } = options;
  for (let attempt = 1; ; attempt++) {
    try {
      await work();
      return;
    } catch (error) {
      if (signal.aborted || attempt >= attempts || !isAway(error)) throw error;
      onRetry(error);
    }
    const pause = Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** (attempt - 1));
    await sleep(pause * (0.5 + Math.random() / 2), undefined, { signal });
  }
}

/**
 * The replica has gone: refused, broken off, or cancelled by the server's side (it was shut down; our own signal has
 * been looked at before). What was blamed on a service already has had its own attempts.
 */
function isAway(error: unknown): error is ClipGenError {
  if (!(error instanceof ClipGenError) || error instanceof ServiceError) return false;
  return error.code === 'unavailable' || error.code === 'cancelled';
}
