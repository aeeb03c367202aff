import { ClipGenError, invalidArgument } from '@clip-gen/errors';
import { currentRequestId, newRequestId, type Logger, type Metrics } from '@clip-gen/telemetry';
import {
  ClientError,
  Metadata,
  Status,
  type CallOptions,
  type ClientMiddleware,
  type ClientMiddlewareCall,
} from 'nice-grpc';
import { setTimeout as sleep } from 'node:timers/promises';
import { REQUEST_ID_KEY } from './call-tracker.ts';
import { errorCode, RETRY_AFTER_TRAILER } from './error-status.ts';

/** What a call may say beside gRPC's own `signal` and `metadata`. */
export interface CallExtras {
  /** Milliseconds that this call may take, in [1, 86,400,000]. Default: the connection's. */
  readonly deadlineMs?: number;
  /**
   * Whether the call is made again after UNAVAILABLE, as long as nothing of its answer has arrived. Default: where the
   * contract says NO_SIDE_EFFECTS and the request is no stream (which could not be sent twice).
   */
  readonly retry?: boolean;
}

/** How often and how soon a call is made again. */
export interface Retry {
  /** Times that a call is made at most, the first included. Default 4; 1 turns retries off. */
  readonly attempts?: number;
  /** The first wait at most; each further one up to twice as long, drawn at random. Default 50 ms. */
  readonly baseDelayMs?: number;
  /** Default 1,000 ms. */
  readonly maxDelayMs?: number;
}

/** What the middleware takes from the connection. */
export interface CallSettings {
  readonly name: string;
  readonly deadlineMs: number;
  readonly retry?: Retry;
  readonly logger?: Logger;
  readonly metrics?: Metrics;
  /** Whether the connection is closed: nothing is tried again then. */
  readonly closed: () => boolean;
}

const LONGEST_DEADLINE_MS = 86_400_000;

/** Request id, deadline, errors, retries and metrics of every call on a connection. */
export function callMiddleware(settings: CallSettings): ClientMiddleware<CallExtras> {
  const { name, logger } = settings;
  const { attempts = 4, baseDelayMs = 50, maxDelayMs = 1_000 } = settings.retry ?? {};
  const metrics = settings.metrics && clientMetrics(settings.metrics, name);

  return async function* <Request, Response>(
    call: ClientMiddlewareCall<Request, Response>,
    { deadlineMs = settings.deadlineMs, retry, signal: hangUp, ...options }: CallOptions & Partial<CallExtras>,
  ): AsyncGenerator<Response, Response | void, undefined> {
    if (!(deadlineMs >= 1 && deadlineMs <= LONGEST_DEADLINE_MS)) {
      throw invalidArgument('deadlineMs', `in [1, ${LONGEST_DEADLINE_MS}]`, deadlineMs);
    }
    const repeatable = !call.requestStream && (retry ?? call.method.options.idempotencyLevel === 'NO_SIDE_EFFECTS');
    const startedAt = performance.now();
    const deadline = startedAt + deadlineMs;
    const stop = new AbortController();
    const { signal } = stop;
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      stop.abort();
    }, deadlineMs);
    const onHangUp = (): void => stop.abort();
    if (hangUp?.aborted) onHangUp();
    hangUp?.addEventListener('abort', onHangUp, { once: true });
    const requestId = options.metadata?.get(REQUEST_ID_KEY) ?? currentRequestId() ?? newRequestId();
    let code = 'CANCELLED'; // what it is when the caller takes no more of the stream
    try {
      for (let attempt = 1; ; attempt++) {
        let answered = false;
        let retryAfterMs: number | undefined;
        const metadata = Metadata(options.metadata)
          .set(REQUEST_ID_KEY, requestId)
          .set('grpc-timeout', `${Math.max(1, Math.ceil(deadline - performance.now()))}m`);
        const messages: AsyncGenerator<Response, Response | void, undefined> = call.next(call.request, {
          ...options,
          metadata,
          signal,
          onTrailer(trailer) {
            retryAfterMs = readRetryAfter(trailer);
            options.onTrailer?.(trailer);
          },
        });
        try {
          for (;;) {
            const result = await messages.next();
            answered = true;
            if (result.done) {
              code = 'OK';
              return result.value;
            }
            yield result.value;
          }
        } catch (cause) {
          const error = callError(cause, name, {
            hungUp: hangUp?.aborted,
            late,
            closed: settings.closed(),
            deadlineMs,
            retryAfterMs,
          });
          code = error.code.toUpperCase();
          const again = error.code === 'unavailable' && repeatable && !answered && attempt < attempts;
          if (!again || settings.closed()) throw error;
          const delayMs = Math.random() * Math.min(maxDelayMs, baseDelayMs * 2 ** (attempt - 1));
          logger?.debug(
            { peer: name, method: call.method.path.slice(1), attempt, reason: error.message },
            'call again',
          );
          metrics?.again();
          // Cut short by the caller or the deadline, the next attempt finds out at once.
          await sleep(delayMs, undefined, { signal }).catch(() => undefined);
        } finally {
          await messages.return();
        }
      }
    } finally {
      clearTimeout(timer);
      hangUp?.removeEventListener('abort', onHangUp);
      metrics?.ended(call.method.path.slice(1), code, (performance.now() - startedAt) / 1_000);
    }
  };
}

/** The circumstances of a call that failed. */
interface Circumstances {
  readonly hungUp: boolean | undefined;
  readonly late: boolean;
  readonly closed: boolean;
  readonly deadlineMs: number;
  readonly retryAfterMs: number | undefined;
}

/** A failed call as the caller should see it: peers' messages as they are, transport's with the peer's name. */
function callError(
  cause: unknown,
  name: string,
  { hungUp, late, closed, deadlineMs, retryAfterMs }: Circumstances,
): ClipGenError {
  if (hungUp) return new ClipGenError('cancelled', `the call to ${name} was cancelled`, { cause });
  if (late) {
    return new ClipGenError('deadline_exceeded', `${name} did not finish within ${Math.round(deadlineMs)} ms`, {
      cause,
    });
  }
  if (closed) return new ClipGenError('unavailable', `the connection to ${name} is closed`, { cause });
  if (cause instanceof ClipGenError) return cause;
  if (!(cause instanceof ClientError)) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    return new ClipGenError('internal', `the call to ${name} failed: ${reason}`, { cause });
  }
  // Nobody here hung up: the server was stopped in the middle of the call.
  if (cause.code === Status.CANCELLED) return new ClipGenError('unavailable', `${name} cut the call off`, { cause });
  const code = errorCode(cause.code);
  const message =
    code === 'unavailable' || code === 'internal' || code === 'deadline_exceeded'
      ? `${name}: ${cause.details}`
      : cause.details;
  return new ClipGenError(code, message, { cause, retryAfterMs });
}

function readRetryAfter(trailer: Metadata): number | undefined {
  const text = trailer.get(RETRY_AFTER_TRAILER);
  return text !== undefined && /^\d{1,9}$/.test(text) ? Number(text) : undefined;
}

function clientMetrics(metrics: Metrics, peer: string) {
  const handled = metrics.counter({
    name: 'clip_gen_grpc_client_handled_total',
    help: 'Calls to peers that ended, by gRPC status.',
    labels: ['peer', 'method', 'code'],
  });
  const seconds = metrics.histogram({
    name: 'clip_gen_grpc_client_seconds',
    help: 'Time from the call to its end, retries and streams included.',
    labels: ['peer', 'method'],
  });
  const retries = metrics.counter({
    name: 'clip_gen_grpc_client_retries_total',
    help: 'Calls that were made again after UNAVAILABLE.',
    labels: ['peer'],
  });
  return {
    ended(method: string, code: string, elapsed: number): void {
      handled.inc({ peer, method, code });
      seconds.observe({ peer, method }, elapsed);
    },
    again: (): void => retries.inc({ peer }),
  };
}
