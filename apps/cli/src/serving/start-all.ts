import { EMBEDDING_SETTINGS, startEmbedding } from '@clip-gen/clip-embedding';
import { readSettings, type Settings, type SettingsOf } from '@clip-gen/config';
import { GATEWAY_SETTINGS, startGateway, type RunningGateway } from '@clip-gen/gateway';
import type { Running } from '@clip-gen/service';
import type { Logger } from '@clip-gen/telemetry';
import { SAMPLER_SETTINGS, startSampler } from '@clip-gen/transformer-sampler';
import { DECODER_SETTINGS, startDecoder } from '@clip-gen/vqgan-decoder';
import type { ServeSettings } from './serve-settings.ts';

/** Any free port of this machine alone. */
const LOOPBACK = '127.0.0.1:0';
/** The name of the model's own decoder. */
const OWN_DECODER = 'vqgan';

/**
 * Starts the three model services on free loopback ports and the gateway before them, in this process. They talk gRPC as
 * they would across machines.
 *
 * @throws what a service throws that cannot start, with the others closed again
 */
export async function startAll(settings: ServeSettings, deps: { readonly logger: Logger }): Promise<RunningGateway> {
  const { model, generationDefaults, provider, threads, drainMs, maxInFlight, maxWaiting, logLevel, logFormat } =
    settings;
  const shared = {
    model,
    provider,
    threads,
    drainMs,
    logLevel,
    logFormat,
    address: LOOPBACK,
    metricsAddress: LOOPBACK,
  };
  const logger = (service: string): { logger: Logger } => ({ logger: deps.logger.child({ service }) });
  const running: Running[] = [];
  const started = async <R extends Running>(service: Promise<R>): Promise<R> => {
    running.push(await service);
    return service;
  };
  try {
    // What the gateway has admitted must find room behind it.
    const queueLimit = Math.max(32, maxInFlight + maxWaiting);
    const embedding = await started(
      startEmbedding({ ...defaults(EMBEDDING_SETTINGS), ...shared, queueLimit }, logger('clip-embedding')),
    );
    const sampler = await started(
      startSampler(
        { ...defaults(SAMPLER_SETTINGS), ...shared, generationDefaults, queueLimit },
        logger('transformer-sampler'),
      ),
    );
    const decoders: string[] = [];
    for (const [name, decoderManifest] of [[OWN_DECODER, ''] as const, ...settings.decoders.map(named)]) {
      const own = { ...defaults(DECODER_SETTINGS), ...shared, decoderManifest };
      const decoder = await started(startDecoder(own, logger(`${name}-decoder`)));
      decoders.push(`${name}=127.0.0.1:${decoder.port}`);
    }
    const gateway = await startGateway(
      {
        ...defaults(GATEWAY_SETTINGS),
        ...settings,
        embedding: [`127.0.0.1:${embedding.port}`],
        sampler: [`127.0.0.1:${sampler.port}`],
        decoders,
      },
      logger('gateway'),
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

/** `name=path`, which the settings have checked. */
function named(entry: string): readonly [string, string] {
  const at = entry.indexOf('=');
  return [entry.slice(0, at), entry.slice(at + 1)];
}
