import { ClipGenError } from '@clip-gen/errors';
import { acceptRequestId, withRequestId, type Logger, type Metrics } from '@clip-gen/telemetry';
import { Status, type CallContext, type ServerMiddlewareCall, type ServerMiddleware } from 'nice-grpc';
import { setTimeout as sleep } from 'node:timers/promises';
import { RETRY_AFTER_TRAILER, toServerError } from './error-status.ts';
import { DEADLINE_KEY } from './deadline.ts';

/** The metadata that carries the request's id, to us and from us. */
export const REQUEST_ID_KEY = 'x-request-id';

/**
 * A caller that hangs up in the middle of its messages seems to have ended them at first. What a handler says of that waits
 * so long for the cancellation, which is what happened.
 */
const HANG_UP_MS = 20;

/** Series of one server's calls. */
interface CallMetrics {
  readonly started: (labels: CallLabels) => void;
  readonly ended: (labels: CallLabels, code: string, seconds: number) => void;
}

interface CallLabels {
  /** Not `service`, which is whose metrics these are where those of several are shown together. */
  readonly grpc_service: string;
  readonly method: string;
}

/**
 * Surrounds every call of the services: request id, log line, metrics, errors to status codes, the count of running calls.
 */
export class CallTracker {
  /** Calls whose handlers have not come to their end. */
  running = 0;
  private readonly metrics: CallMetrics | undefined;
  private whenIdle: (() => void)[] = [];

  /** @param refuses why calls are refused at this moment; undefined while they are welcome */
  constructor(
    private readonly logger: Logger,
    metrics: Metrics | undefined,
    private readonly refuses: () => ClipGenError | undefined,
  ) {
    this.metrics = metrics && callMetrics(metrics);
  }

  readonly middleware: ServerMiddleware = (call, context) => this.track(call, context);

  /** Resolves when no handler runs. */
  idle(): Promise<void> {
    return this.running === 0 ? Promise.resolve() : new Promise((resolve) => this.whenIdle.push(resolve));
  }

  private async *track<Request, Response>(
    call: ServerMiddlewareCall<Request, Response>,
    context: CallContext,
  ): AsyncGenerator<Response, Response | void, undefined> {
    const requestId = acceptRequestId(context.metadata.get(REQUEST_ID_KEY));
    context.header.set(REQUEST_ID_KEY, requestId);
    const labels = splitPath(call.method.path);
    const startedAt = performance.now();
    let code: Status = Status.CANCELLED; // what it is when the caller's end of the stream is gone and we only return
    let failure: unknown;
    this.running++;
    this.metrics?.started(labels);
    try {
      const refusal = this.refuses();
      if (refusal) throw refusal;
      const messages: AsyncGenerator<Response, Response | void, undefined> = call.next(call.request, context);
      const response = yield* inContext(requestId, messages, context.signal);
      code = Status.OK;
      return response;
    } catch (error) {
      if (call.requestStream) await sleep(HANG_UP_MS, undefined, { signal: context.signal }).catch(() => undefined);
      failure = error;
      const shown = toServerError(error, requestId);
      code = shown.code;
      if (error instanceof ClipGenError && error.retryAfterMs !== undefined) {
        context.trailer.set(RETRY_AFTER_TRAILER, String(Math.ceil(error.retryAfterMs)));
      }
      throw shown;
    } finally {
      if (context.signal.aborted) code = deadlinePassed(context) ? Status.DEADLINE_EXCEEDED : Status.CANCELLED;
      const ms = performance.now() - startedAt;
      this.metrics?.ended(labels, Status[code], ms / 1_000);
      withRequestId(requestId, () => this.log(call.method.path, code, ms, failure));
      if (--this.running === 0) for (const resolve of this.whenIdle.splice(0)) resolve();
    }
  }

  private log(path: string, code: Status, ms: number, failure: unknown): void {
    const entry = { method: path.slice(1), code: Status[code], ms: Math.round(ms * 10) / 10 };
    if (code === Status.OK && isProbe(path)) this.logger.debug(entry, 'call');
    else if (code === Status.OK || code === Status.CANCELLED) this.logger.info(entry, 'call');
    else if (code === Status.INTERNAL || code === Status.UNKNOWN || code === Status.DATA_LOSS) {
      this.logger.error({ ...entry, err: failure }, 'call failed');
    } else {
      const reason = failure instanceof Error ? failure.message : undefined;
      this.logger.warn({ ...entry, reason }, 'call refused');
    }
  }
}

/**
 * Runs a handler's generator inside the request's context, which belongs to each `next()` and not to the generator, and
 * stops it once the call is gone even if it never looks at its signal.
 */
async function* inContext<Response>(
  requestId: string,
  generator: AsyncGenerator<Response, Response | void, undefined>,
  signal: AbortSignal,
): AsyncGenerator<Response, Response | void, undefined> {
  try {
    for (;;) {
      const result = await withRequestId(requestId, () => generator.next());
      if (result.done) return result.value;
      signal.throwIfAborted();
      yield result.value;
    }
  } finally {
    await withRequestId(requestId, () => generator.return());
  }
}

function deadlinePassed({ metadata }: CallContext): boolean {
  const deadline = metadata.get(DEADLINE_KEY);
  return deadline !== undefined && Date.now() >= Number(deadline);
}

/** `/clipgen.v1.TokenDecoder/Decode` → `clipgen.v1.TokenDecoder`, `Decode` */
function splitPath(path: string): CallLabels {
  const [, service = '', method = ''] = path.split('/');
  return { grpc_service: service, method };
}

function callMetrics(metrics: Metrics): CallMetrics {
  const labels = ['grpc_service', 'method'] as const;
  const running = metrics.gauge({ name: 'clip_gen_grpc_server_running', help: 'Calls that run now.', labels });
  const handled = metrics.counter({
    name: 'clip_gen_grpc_server_handled_total',
    help: 'Calls that ended, by gRPC status.',
    labels: [...labels, 'code'],
  });
  const seconds = metrics.histogram({
    name: 'clip_gen_grpc_server_seconds',
    help: 'Time from the call to its end, streams included.',
    labels,
  });
  return {
    started: (call) => running.inc({ ...call }),
    ended(call, code, elapsed) {
      running.dec({ ...call });
      handled.inc({ ...call, code });
      seconds.observe({ ...call }, elapsed);
    },
  };
}

/** A call that only asks what is there, such as the gateway makes every second: not worth a line when all is well. */
function isProbe(path: string): boolean {
  return /\/(Get|List|Check)[^/]*$/.test(path);
}
