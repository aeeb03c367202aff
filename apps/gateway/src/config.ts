import { invalidArgument } from '@clip-gen/errors';
import {
  address,
  choice,
  defineSettings,
  integer,
  list,
  text,
  type SettingSources,
  type SettingsOf,
} from '@clip-gen/config';
import { clientTlsSettings, logFormatSetting, serverTlsSettings } from '@clip-gen/service';
import { MAX_CANDIDATES } from './generation-request.ts';

/** Names of letters, digits, `.`, `_` and `-`, so that they can stand behind the model's name and a colon. */
const DECODER = /^([A-Za-z0-9][A-Za-z0-9._-]{0,63})=(.{1,300})$/;
const SERVER = address({ description: '' });

/** Everything that can be set. One table for flags, environment, help and README. */
export const GATEWAY_SETTINGS = defineSettings('gateway', {
  httpAddress: address({
    default: '127.0.0.1:8080',
    description: 'Where REST and the web page listen; 0.0.0.0 for all interfaces, port 0 for any free port.',
  }),
  address: address({ default: '127.0.0.1:50050', description: 'Where gRPC listens.' }),
  metricsAddress: address({
    default: '127.0.0.1:9050',
    description: 'Where /metrics, /healthz and /readyz are served besides, for those inside.',
  }),
  embedding: list({
    default: ['127.0.0.1:50051'],
    of: SERVER,
    min: 1,
    description: 'ClipEmbedding servers. Several are replicas, as are all addresses of a DNS name.',
  }),
  sampler: list({ default: ['127.0.0.1:50052'], of: SERVER, min: 1, description: 'TransformerSampler servers.' }),
  decoders: list({
    default: ['vqgan=127.0.0.1:50053'],
    of: text({ description: '', pattern: { regex: DECODER, range: 'name=host:port' } }),
    min: 1,
    description: 'TokenDecoder servers; the first name is the default. A name that comes twice has two replicas.',
  }),
  modelName: text({
    default: 'clip-gen',
    description: 'What `model` is called in requests and in `/v1/models`; `<name>:<decoder>` chooses a decoder.',
  }),
  defaultCandidates: integer({
    default: 0,
    min: 0,
    max: MAX_CANDIDATES,
    description:
      'Pictures that are drawn and judged when a request does not say (at least `n`); 0: as many as the sampler says.',
  }),
  maxCandidates: integer({
    default: MAX_CANDIDATES,
    min: 1,
    max: MAX_CANDIDATES,
    description: 'Most candidates of one request.',
  }),
  maxImageSide: integer({
    default: 2048,
    min: 8,
    max: 4096,
    unit: 'px',
    description: 'Largest side that `size` may ask for.',
  }),
  maxInFlight: integer({
    default: 8,
    min: 1,
    max: 1024,
    description:
      'Requests that are worked on at once, for pictures and for embeddings each; one for pictures keeps at most four batches of them that wait to be judged.',
  }),
  maxWaiting: integer({
    default: 64,
    min: 0,
    max: 65_536,
    description: 'Requests of each kind that may wait for their turn; past it comes 429 (RESOURCE_EXHAUSTED).',
  }),
  maxConnections: integer({
    default: 1024,
    min: 1,
    max: 1_000_000,
    description:
      'HTTP connections at a time, and with them the answers that may wait for slow readers; more are closed.',
  }),
  requestTimeoutMs: integer({
    default: 120_000,
    min: 100,
    max: 3_600_000,
    unit: 'ms',
    description:
      'From arrival until the last picture is read, waiting included; past it comes 504 (DEADLINE_EXCEEDED).',
  }),
  attempts: integer({
    default: 4,
    min: 1,
    max: 10,
    description: 'How often a stage of a request is begun when a replica goes away under it.',
  }),
  judgeBatch: integer({ default: 8, min: 1, max: 64, description: 'Pictures of one EmbedImage call at most.' }),
  maxBodyBytes: integer({
    default: 65_536,
    min: 1024,
    max: 16_777_216,
    unit: 'bytes',
    description: 'Largest body of an HTTP request; past it comes 413.',
  }),
  probeMs: integer({
    default: 1000,
    min: 10,
    max: 60_000,
    unit: 'ms',
    description: 'How often the services behind are asked whether they are there.',
  }),
  drainMs: integer({
    default: 10_000,
    min: 0,
    max: 600_000,
    unit: 'ms',
    description: 'How long running requests may go on after SIGTERM.',
  }),
  apiKeys: text({
    default: '',
    secret: true,
    maxLength: 65_536,
    description:
      'Bearer keys separated by commas, any of which opens `/v1/` and gRPC; none: open to all who can connect.',
  }),
  ...serverTlsSettings(),
  ...clientTlsSettings(),
  logLevel: choice({
    values: ['debug', 'info', 'warn', 'error', 'silent'],
    default: 'info',
    description: 'Least level that is logged.',
  }),
  logFormat: logFormatSetting(),
});

export type GatewaySettings = SettingsOf<typeof GATEWAY_SETTINGS>;

/** Where a process gets its settings from; the only place that reads the environment. */
export function processSources(argv: readonly string[]): SettingSources {
  return { argv, env: process.env };
}

/**
 * Addresses of each decoder by name, in the order in which names come first.
 *
 * @throws invalid_argument for an entry that is not `name=host:port`
 */
export function decoderAddresses(entries: readonly string[]): ReadonlyMap<string, readonly string[]> {
  const byName = new Map<string, string[]>();
  for (const entry of entries) {
    const [, name, at] = DECODER.exec(entry) ?? [];
    if (name === undefined || at === undefined) throw invalidArgument('decoders', 'name=host:port', entry);
    byName.set(name, [...(byName.get(name) ?? []), SERVER.parse(at, `decoder ${name}`)]);
  }
  return byName;
}
