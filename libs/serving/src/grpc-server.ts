import { parseAddress } from '@clip-gen/config';
import { DESCRIPTOR_SET as CONTRACTS } from '@clip-gen/contracts';
import { ClipGenError } from '@clip-gen/errors';
import { createLogger, type Logger, type Metrics } from '@clip-gen/telemetry';
import type { ServerOptions } from '@grpc/grpc-js';
import { createServer } from 'nice-grpc';
import { CallTracker } from './call-tracker.ts';
import { deadlineInterceptor } from './deadline.ts';
import { toServerError } from './error-status.ts';
import { DESCRIPTOR_SET as OWN } from './generated/descriptor-set.ts';
import { Health } from './health.ts';
import { reflectionServices } from './reflection.ts';
import type { Service } from './serve.ts';
import { serverCredentials, type ServerTls } from './tls.ts';

/** How a server listens, and its limits. */
export interface GrpcServerOptions {
  /** For logs and messages. */
  readonly name: string;
  /** `host:port`; port 0 lets the system choose. */
  readonly address: string;
  readonly services: readonly Service[];
  /** Bytes of a request message at most; past it RESOURCE_EXHAUSTED. Default 16 MiB. */
  readonly maxReceiveBytes?: number;
  /** Calls at once on one connection; further ones wait at the client. Default 256. */
  readonly maxStreams?: number;
  /** Default: no logs. */
  readonly logger?: Logger;
  /** Default: no metrics. */
  readonly metrics?: Metrics;
  /** Default: none, plain HTTP/2. */
  readonly tls?: ServerTls;
  /** Serialized FileDescriptorSet of services that are not among the project's contracts, for reflection. */
  readonly descriptorSet?: Uint8Array;
}

/** A listening server. Whoever started it closes it. */
export interface GrpcServer {
  readonly port: number;
  /** Whether calls are taken, which health tells too. False at first: then, and after `setServing(false)`, UNAVAILABLE. */
  setServing(serving: boolean): void;
  readonly serving: boolean;
  /** Calls of the services whose handlers run, those of health and reflection not counted. */
  readonly runningCalls: number;
  /**
   * Health turns NOT_SERVING, clients are told to go elsewhere (what they send meanwhile is refused unseen, which they
   * retry), running calls may end; what still runs after `ms` is cut off. Then the server is closed.
   *
   * @returns whether all calls came to their end
   */
  drain(ms: number): Promise<boolean>;
  /** Cuts all calls off and closes. */
  close(): Promise<void>;
}

/**
 * Starts a gRPC server with health, reflection, request ids, logs, metrics and limits around its services.
 *
 * @throws ClipGenError `unavailable` where the port cannot be had, `invalid_argument` for an address that is none
 */
export async function startServer(options: GrpcServerOptions): Promise<GrpcServer> {
  const { name, address, services, maxReceiveBytes = 16 * 2 ** 20, maxStreams = 256, metrics } = options;
  const logger = options.logger ?? createLogger({ service: name, level: 'silent' });
  parseAddress(address);

  const names = services.map(({ fullName }) => fullName);
  const health = new Health(names);
  const tracker = new CallTracker(logger, metrics, () =>
    health.serving || draining
      ? undefined
      : new ClipGenError('unavailable', `${name} is not serving yet; try again soon`),
  );
  let draining = false;

  const grpcOptions: ServerOptions = {
    'grpc.max_receive_message_length': maxReceiveBytes,
    'grpc.max_concurrent_streams': maxStreams,
    // A caller whose machine vanished without a word holds its calls no longer than this.
    'grpc.keepalive_time_ms': 30_000,
    'grpc.keepalive_timeout_ms': 10_000,
    interceptors: [deadlineInterceptor],
  };
  const base = createServer(grpcOptions);
  const builtin = [
    health.service,
    ...reflectionServices(
      [...names, 'grpc.health.v1.Health', 'grpc.reflection.v1.ServerReflection'],
      Buffer.concat([CONTRACTS, Buffer.from(OWN, 'base64'), ...(options.descriptorSet ? [options.descriptorSet] : [])]),
    ),
  ];
  // Probes come every few seconds: neither logged nor counted.
  const quiet = base.with(async function* (call, context) {
    try {
      return yield* call.next(call.request, context);
    } catch (error) {
      throw toServerError(error, 'none');
    }
  });
  for (const service of builtin) service.addTo(quiet);
  const tracked = base.with(tracker.middleware);
  for (const service of services) service.addTo(tracked);

  let port: number;
  try {
    port = await base.listen(address, serverCredentials(options.tls));
  } catch (cause) {
    if (cause instanceof ClipGenError) throw cause;
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new ClipGenError('unavailable', `${name} cannot listen on ${address} (is the port taken?): ${reason}`, {
      cause,
    });
  }
  logger.info({ address, port, tls: options.tls !== undefined }, 'listening');

  const end = async (ms: number): Promise<boolean> => {
    draining = true;
    health.serving = false;
    health.end();
    const finished = Promise.all([base.shutdown(), tracker.idle()]).then((): true => true);
    const inTime = await within(ms, finished);
    if (!inTime) {
      if (tracker.running > 0) logger.warn({ running: tracker.running, afterMs: ms }, 'cutting off running calls');
      base.forceShutdown();
      // Handlers see their signal abort; one that never looks does not hold the process.
      await within(
        1_000,
        tracker.idle().then((): true => true),
      );
    }
    logger.info('closed');
    return inTime;
  };
  let ending: Promise<boolean> | undefined;

  return {
    port,
    get serving() {
      return health.serving;
    },
    get runningCalls() {
      return tracker.running;
    },
    setServing(serving) {
      if (!draining) health.serving = serving;
    },
    drain(ms) {
      return (ending ??= end(ms));
    },
    async close() {
      if (ending === undefined) ending = end(0);
      else base.forceShutdown();
      await ending;
    },
  };
}

/** Whether `work` was done within `ms`. */
async function within(ms: number, work: Promise<true>): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<false>((resolve) => (timer = setTimeout(resolve, ms, false)));
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}
