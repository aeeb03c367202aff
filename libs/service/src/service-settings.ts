import { address, choice, integer, text } from '@clip-gen/config';
import { LOG_FORMATS, LOG_LEVELS } from '@clip-gen/telemetry';

/** Where a service listens unless told otherwise. */
export interface ServicePorts {
  readonly address: number;
  readonly metricsAddress: number;
}

/** How a program logs. */
export function logFormatSetting() {
  return choice({
    values: LOG_FORMATS,
    default: 'auto',
    description: 'JSON lines, or for eyes; auto: for eyes on a terminal, JSON elsewhere.',
  });
}

/** What a server shows and demands: files for `readTls`. */
export function serverTlsSettings() {
  return {
    tlsCert: text({ default: '', description: 'PEM file of the certificate chain; empty: no TLS.' }),
    tlsKey: text({ default: '', description: 'PEM file of its private key.' }),
    tlsClientCa: text({
      default: '',
      description: 'PEM file of the authority whose clients alone may connect; empty: anyone may.',
    }),
  };
}

/**
 * What a client of other services trusts and shows: files for `readClientTls`.
 *
 * @param whom the others, for the descriptions
 */
export function clientTlsSettings(whom = 'the services behind') {
  return {
    peerCa: text({
      default: '',
      description: `PEM file of the authority that signed the certificates of ${whom}; empty: no TLS to them.`,
    }),
    peerCert: text({ default: '', description: 'PEM file of the certificate shown to them, where they demand one.' }),
    peerKey: text({ default: '', description: 'PEM file of its private key.' }),
    peerName: text({ default: '', description: "Name that their certificates are for; empty: each address's host." }),
  };
}

/**
 * The settings that every service with a model has, to be spread into its own. It listens on loopback unless told
 * otherwise: there is no password on these doors.
 */
export function serviceSettings(ports: ServicePorts) {
  return {
    address: address({
      default: `127.0.0.1:${ports.address}`,
      description: 'Where gRPC listens; 0.0.0.0 for all interfaces, port 0 for any free port.',
    }),
    metricsAddress: address({
      default: `127.0.0.1:${ports.metricsAddress}`,
      description: 'Where /metrics, /healthz and /readyz are served over HTTP.',
    }),
    provider: choice({
      values: ['cpu', 'webgpu', 'cuda'],
      default: 'cpu',
      description: 'What the networks run on; one that this machine lacks is an error, never a silent run on the CPU.',
    }),
    threads: integer({
      default: 0,
      min: 0,
      max: 1024,
      description: 'Threads of one operator; 0 takes the physical cores that the process may use.',
    }),
    queueLimit: integer({
      default: 32,
      min: 0,
      max: 65_536,
      description: 'Calls that may wait for their turn; past it comes RESOURCE_EXHAUSTED, with the time to come again.',
    }),
    maxReceiveBytes: integer({
      default: 4 << 20,
      min: 1024,
      max: 1 << 30,
      unit: 'bytes',
      description: 'Largest message that is taken.',
    }),
    maxStreams: integer({
      default: 256,
      min: 1,
      max: 65_536,
      description: 'Calls of one connection at the same time.',
    }),
    drainMs: integer({
      default: 10_000,
      min: 0,
      max: 600_000,
      unit: 'ms',
      description: 'How long running calls may go on after SIGTERM.',
    }),
    ...serverTlsSettings(),
    logLevel: choice({
      values: LOG_LEVELS,
      default: 'info',
      description: 'Least level that is logged.',
    }),
    logFormat: logFormatSetting(),
  };
}

type Declared = ReturnType<typeof serviceSettings>;

/** Values of {@link serviceSettings}. */
export type ServiceSettings = {
  readonly [Key in keyof Declared]: Declared[Key] extends { parse(text: string, name: string): infer T } ? T : never;
};
