import { ImageGenerationDefinition } from '@clip-gen/contracts';
import { readClientTls, readTls, refuseTakenAddresses, type Running, type ServiceDeps } from '@clip-gen/service';
import { serve, startServer, WorkQueue, type GrpcServer } from '@clip-gen/serving';
import { createLogger, Metrics, startMetricsServer, type MetricsText } from '@clip-gen/telemetry';
import { ApiKeys } from './api-keys.ts';
import type { GatewaySettings } from './config.ts';
import type { Core } from './core.ts';
import { GatewayMetrics } from './gateway-metrics.ts';
import { imageGeneration } from './grpc-door.ts';
import { openRestDoor } from './http/rest-door.ts';
import { Peers } from './peers/peers.ts';
import { Generator } from './pipeline/generator.ts';
import { TextEmbedder } from './pipeline/text-embedder.ts';

/** A running gateway: `port` is that of gRPC. */
export interface RunningGateway extends Running {
  readonly httpPort: number;
  readonly metricsPort: number;
}

/** What a program gives the gateway that runs it beside other services. */
export interface GatewayDeps extends ServiceDeps {
  /** What `/metrics` shows; the gateway's own metrics unless given. */
  readonly shownMetrics?: MetricsText;
  /** Addresses of services in this same process: they are called without TLS, whatever the settings say. */
  readonly inProcess?: readonly string[];
}

/** Requests are small: a prompt of 1,000 characters and numbers. */
const MAX_RECEIVE_BYTES = 65_536;
/** What is left of a drain for clients to read their errors, before their connections are cut. */
const LAST_WORDS_MS = 500;

/**
 * Opens all doors. The services behind may come later: until they do, REST answers 503 and names them, gRPC is
 * NOT_SERVING; the gateway finds them by itself. Once all were there that a request without wishes needs, gRPC stays
 * SERVING: a service that goes away again is an error of the requests that need it.
 *
 * @throws invalid_argument for settings that cannot be used; unavailable when an address cannot be had
 */
export async function startGateway(settings: GatewaySettings, deps: GatewayDeps = {}): Promise<RunningGateway> {
  const { logger = createLogger({ service: 'gateway', level: settings.logLevel, format: settings.logFormat }) } = deps;
  const [tls, peerTls] = await Promise.all([readTls(settings), readClientTls(settings)]);
  const { httpAddress, address, metricsAddress } = settings;
  await refuseTakenAddresses({ httpAddress, address, metricsAddress });
  const { metrics = new Metrics(), inProcess = [] } = deps;
  const { shownMetrics = metrics } = deps;
  const opened: (() => Promise<unknown>)[] = []; // closed in reverse
  const free = async (): Promise<void> => {
    for (const close of opened.splice(0).reverse()) await close();
  };
  let draining = false;
  let grpc: GrpcServer | undefined;
  const ready = (): boolean => !draining && peers.ready;
  const onChange = (): void => {
    if (ready()) grpc?.setServing(true);
  };
  const peers = new Peers(settings, { logger, metrics, onChange, inProcess, ...(peerTls && { tls: peerTls }) });
  opened.push(() => Promise.resolve(peers.close()));
  try {
    const core = assemble(settings, metrics, { peers, logger, shownMetrics, ready, draining: () => draining });
    const metricsServer = await startMetricsServer({ address: settings.metricsAddress, metrics: shownMetrics, ready });
    opened.push(() => metricsServer.close());
    const server = await startServer({
      name: 'gateway',
      address: settings.address,
      services: [serve(ImageGenerationDefinition, imageGeneration(core))],
      maxReceiveBytes: MAX_RECEIVE_BYTES,
      logger,
      metrics,
      ...(tls && { tls }),
    });
    opened.push(() => server.close());
    grpc = server;
    const rest = await openRestDoor(core, tls);
    opened.push(async () => {
      rest.cut();
      await rest.close();
    });
    await peers.ask();
    onChange();
    logger.info({ http: rest.port, grpc: server.port, metrics: metricsServer.port, ready: ready() }, 'gateway is open');

    let closed: Promise<void> | undefined;
    const close = (): Promise<void> => {
      draining = true;
      core.generator.abortAll();
      return (closed ??= free());
    };
    return {
      port: server.port,
      httpPort: rest.port,
      metricsPort: metricsServer.port,
      metrics,
      close,
      async drain() {
        draining = true;
        const late = setTimeout(() => core.generator.abortAll(), settings.drainMs);
        const tooLate = setTimeout(() => rest.cut(), settings.drainMs + LAST_WORDS_MS);
        await Promise.all([rest.close(), server.drain(settings.drainMs + LAST_WORDS_MS)]);
        clearTimeout(late);
        clearTimeout(tooLate);
        await close();
      },
    };
  } catch (error) {
    await free();
    throw error;
  }
}

function assemble(
  settings: GatewaySettings,
  metrics: Metrics,
  given: Pick<Core, 'peers' | 'logger' | 'shownMetrics' | 'ready' | 'draining'>,
): Core {
  const { peers, logger } = given;
  const gatewayMetrics = new GatewayMetrics(metrics);
  const { maxInFlight: concurrency, maxWaiting, defaultCandidates, maxCandidates, requestTimeoutMs } = settings;
  const generator = new Generator({
    peers,
    queue: new WorkQueue({ concurrency, maxWaiting, name: 'generation', metrics }),
    attempts: settings.attempts,
    judgeBatch: settings.judgeBatch,
    candidates: { usual: defaultCandidates, most: maxCandidates },
    timeoutMs: requestTimeoutMs,
    metrics: gatewayMetrics,
    logger,
  });
  const embedder = new TextEmbedder({
    peers,
    queue: new WorkQueue({ concurrency, maxWaiting, name: 'embeddings', metrics }),
    timeoutMs: requestTimeoutMs,
  });
  return {
    ...given,
    ...{ settings, generator, embedder, gatewayMetrics },
    keys: new ApiKeys(settings.apiKeys),
    limits: () => {
      const { decoderNames: decoders, codebookSize } = peers;
      return { maxCandidates, decoders, codebookSize };
    },
  };
}
