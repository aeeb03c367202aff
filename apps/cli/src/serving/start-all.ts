import { EMBEDDING_SETTINGS, startEmbedding } from '@clip-gen/clip-embedding';
import { readSettings, type Settings, type SettingsOf } from '@clip-gen/config';
import { GATEWAY_SETTINGS, startGateway, type RunningGateway } from '@clip-gen/gateway';
import { readClientTls, readTls, refuseTakenAddresses, type Running, type ServiceDeps } from '@clip-gen/service';
import { loggerFor, Metrics, shownTogether, type Logger } from '@clip-gen/telemetry';
import { SAMPLER_SETTINGS, startSampler } from '@clip-gen/transformer-sampler';
import { DECODER_SETTINGS, startDecoder } from '@clip-gen/vqgan-decoder';
import { ownDecoders } from './own-decoders.ts';
import type { ServeSettings } from './serve-settings.ts';

/** Any free port of this machine alone. */
const LOOPBACK = '127.0.0.1:0';

/**
 * Starts the three model services on free loopback ports and the gateway before them, in this process. They talk gRPC as
 * they would across machines.
 *
 * @throws what a service throws that cannot start, with the others closed again
 */
export async function startAll(settings: ServeSettings, deps: { readonly logger: Logger }): Promise<RunningGateway> {
  const { model, generationDefaults, provider, threads, drainMs, maxInFlight, logLevel, logFormat } = settings;
  const shared = {
    model,
    provider,
    threads,
    drainMs,
    logLevel,
    logFormat,
    address: LOOPBACK,
  };
  // What is wrong with these is said before models are loaded.
  await Promise.all([readTls(settings), readClientTls(settings)]);
  const { httpAddress, address, metricsAddress } = settings;
  await refuseTakenAddresses({ httpAddress, address, metricsAddress });
  // One port shows the metrics of all: the process once, and each service's under its name.
  const shown: [Metrics, ...Metrics[]] = [new Metrics()];
  const named = (service: string): Required<ServiceDeps> => {
    const metrics = new Metrics({ process: false, service });
    shown.push(metrics);
    return { logger: loggerFor(service, deps.logger), metrics };
  };
  const running: Running[] = [];
  const started = async <R extends Running>(service: Promise<R>): Promise<R> => {
    running.push(await service);
    return service;
  };
  try {
    // What the gateway has admitted must find room behind it: a call for each request for pictures and for embeddings,
    // and two streams to a decoder where partial pictures are asked for.
    const queueLimit = Math.max(32, 2 * maxInFlight);
    const maxDecodes = Math.max(128, 2 * maxInFlight);
    const embedding = await started(
      startEmbedding({ ...defaults(EMBEDDING_SETTINGS), ...shared, queueLimit }, named('clip-embedding')),
    );
    const sampler = await started(
      startSampler(
        { ...defaults(SAMPLER_SETTINGS), ...shared, generationDefaults, queueLimit },
        named('transformer-sampler'),
      ),
    );
    const decoders: string[] = [];
    const inProcess = [embedding, sampler].map(({ port }) => `127.0.0.1:${port}`);
    const own = await ownDecoders(model, settings.decoders);
    for (const { name, manifest, address } of [...own, ...settings.decoders]) {
      if (manifest === undefined) {
        decoders.push(`${name}=${address}`);
        continue;
      }
      const which = { decoder: own.find((decoder) => decoder.name === name)?.name ?? ('vqgan' as const) };
      const chosen = { ...defaults(DECODER_SETTINGS), ...shared, ...which, maxDecodes, decoderManifest: manifest };
      const decoder = await started(startDecoder(chosen, named(`${name}-decoder`)));
      inProcess.push(`127.0.0.1:${decoder.port}`);
      decoders.push(`${name}=${inProcess.at(-1)}`);
    }
    const gateway = await startGateway(
      {
        ...defaults(GATEWAY_SETTINGS),
        ...settings,
        embedding: [`127.0.0.1:${embedding.port}`],
        sampler: [`127.0.0.1:${sampler.port}`],
        decoders,
      },
      { ...named('gateway'), shownMetrics: shownTogether(shown), inProcess },
    );
    // The gateway ends first, so that its last requests still find the services.
    const inTurn = async (first: () => Promise<void>, rest: (service: Running) => Promise<void>): Promise<void> => {
      await first();
      await Promise.all(running.map(rest));
    };
    return {
      ...gateway,
      drain: () =>
        inTurn(
          () => gateway.drain(),
          (service) => service.drain(),
        ),
      close: () =>
        inTurn(
          () => gateway.close(),
          (service) => service.close(),
        ),
    };
  } catch (error) {
    await Promise.all(running.map((service) => service.close()));
    throw error;
  }
}

function defaults<S extends Settings>(settings: S): SettingsOf<S> {
  return readSettings(settings, { argv: [], env: {} });
}
