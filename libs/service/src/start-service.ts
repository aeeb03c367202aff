import { startServer, type GrpcServer, type Service } from '@clip-gen/serving';
import { createLogger, Metrics, startMetricsServer, type Logger, type MetricsServer } from '@clip-gen/telemetry';
import { readTls } from './read-tls.ts';
import type { ServiceSettings } from './service-settings.ts';
import { refuseTakenAddresses } from './taken-addresses.ts';

/** What a service is built with. */
export interface ServiceHost {
  readonly logger: Logger;
  readonly metrics: Metrics;
}

/** What is served, with all that it holds. */
export interface LoadedService {
  /** Made by `serve(Definition, implementation)`. */
  readonly services: readonly Service[];
  /** One real run of everything, so that the first caller does not wait for first times. */
  warmUp(): Promise<void>;
  /** Frees models once their running calls are done. */
  close(): Promise<void>;
}

/** What a program gives each of the services that it runs in one process. */
export interface ServiceDeps {
  /** Instead of one by the settings. */
  readonly logger?: Logger;
  /** Instead of the service's own; whoever gives them shows them: the service opens no metrics port. */
  readonly metrics?: Metrics;
}

/** What a service is called, how it is set up and what it serves. */
export interface ServiceOptions extends ServiceDeps {
  /** Such as `transformer-sampler`: in logs and metrics. */
  readonly name: string;
  readonly settings: ServiceSettings;
  /** Loads the models. Closes what it has opened when it throws. */
  load(host: ServiceHost): Promise<LoadedService>;
}

/** A service that is there. */
export interface Running {
  /** Of gRPC. */
  readonly port: number;
  /** Undefined where its metrics are shown by others. */
  readonly metricsPort: number | undefined;
  readonly metrics: Metrics;
  /** NOT_SERVING at once; running calls may end within `drainMs`, then are cut; then all is closed. Idempotent. */
  drain(): Promise<void>;
  /** Cuts running calls and closes everything. Idempotent. */
  close(): Promise<void>;
}

/**
 * Loads, listens, warms up, and only then says SERVING. `/healthz` and `/readyz` answer from the first moment.
 *
 * @throws unavailable for an address that is taken, before anything is loaded; what loading, warming up or listening
 * throws, with everything closed again
 */
export async function startService(options: ServiceOptions): Promise<Running> {
  const { name, settings } = options;
  const logger =
    options.logger ?? createLogger({ service: name, level: settings.logLevel, format: settings.logFormat });
  const tls = await readTls(settings);
  const { address, metricsAddress } = settings;
  await refuseTakenAddresses(options.metrics ? { address } : { address, metricsAddress });
  const metrics = options.metrics ?? new Metrics();
  let serving = false;
  const metricsServer: MetricsServer | undefined = options.metrics
    ? undefined
    : await startMetricsServer({ address: settings.metricsAddress, metrics, ready: () => serving });
  let loaded: LoadedService | undefined;
  let server: GrpcServer | undefined;
  const free = async (): Promise<void> => {
    serving = false;
    try {
      await server?.close();
      await loaded?.close();
    } finally {
      await metricsServer?.close();
    }
  };
  try {
    const since = performance.now();
    loaded = await options.load({ logger, metrics });
    server = await startServer({
      name,
      address: settings.address,
      services: loaded.services,
      maxReceiveBytes: settings.maxReceiveBytes,
      maxStreams: settings.maxStreams,
      logger,
      metrics,
      ...(tls && { tls }),
    });
    await loaded.warmUp();
    server.setServing(true);
    serving = true;
    const ms = Math.round(performance.now() - since);
    logger.info({ port: server.port, metricsPort: metricsServer?.port, ms }, 'serving');
  } catch (error) {
    await free();
    throw error;
  }
  const { port } = server;
  let closed: Promise<void> | undefined;
  const close = (): Promise<void> => (closed ??= free());
  return {
    port,
    metricsPort: metricsServer?.port,
    metrics,
    close,
    drain: async () => {
      serving = false;
      await server?.drain(settings.drainMs);
      await close();
    },
  };
}
