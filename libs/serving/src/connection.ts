import { invalidArgument } from '@clip-gen/errors';
import type { Logger, Metrics } from '@clip-gen/telemetry';
import { Channel, connectivityState, type ChannelOptions } from '@grpc/grpc-js';
import { createClientFactory, type Client, type TsProtoServiceDefinition } from 'nice-grpc';
import { channelTarget } from './address-resolver.ts';
import { callMiddleware, type CallExtras, type Retry } from './client-calls.ts';
import { channelCredentials, type ClientTls } from './tls.ts';

/** Whom to call, and how patiently. */
export interface ConnectionOptions {
  /** `host:port` each; calls go round all servers behind all of them. */
  readonly addresses: readonly string[];
  /** The peer's name, for messages, logs and metrics. */
  readonly name: string;
  /** Default: no logs. */
  readonly logger?: Logger;
  /** Default: no metrics. */
  readonly metrics?: Metrics;
  /** Of calls that may be repeated; see `CallExtras`. */
  readonly retry?: Retry;
  /** Milliseconds that a call may take, its retries and its stream included, unless it says otherwise. */
  readonly deadlineMs: number;
  /** Bytes of a response message at most. Default 64 MiB. */
  readonly maxReceiveBytes?: number;
  /** Default: none, plain HTTP/2. */
  readonly tls?: ClientTls;
}

/**
 * `idle` before the first attempt, `connecting`, `ready` when at least one server is there, `failing` between attempts,
 * `closed`.
 */
export type ConnectionState = 'idle' | 'connecting' | 'ready' | 'failing' | 'closed';

/** A client and what carries its calls. Whoever connected closes it. */
export interface Connection<C> {
  /** One method for each of the service's; each takes `{ signal, deadlineMs, … }` as its last argument. */
  readonly client: C;
  /** How it stands now; asking also starts an attempt where it is idle. */
  state(): ConnectionState;
  /** Waits until a server is there. @returns whether one was within `ms` */
  ready(ms: number): Promise<boolean>;
  /** Calls that run end as `cancelled` or `unavailable`. */
  close(): void;
}

/**
 * Connects to a service: one channel that goes round all its servers, leaves out those that are away and finds them again.
 * Calls carry the current request id and a deadline; errors arrive as ClipGenError; what may be repeated is, after
 * UNAVAILABLE. Returns at once: the first call waits for the first connection.
 *
 * @throws ClipGenError `invalid_argument` for no or bad addresses
 */
export function connect<Definition extends TsProtoServiceDefinition>(
  definition: Definition,
  options: ConnectionOptions,
): Connection<Client<Definition, CallExtras>> {
  const { addresses, maxReceiveBytes = 64 * 2 ** 20 } = options;
  if (addresses.length === 0) throw invalidArgument(`addresses of ${options.name}`, 'at least one host:port', 'none');
  const channelOptions: ChannelOptions = {
    'grpc.service_config': JSON.stringify({ loadBalancingConfig: [{ round_robin: {} }] }),
    'grpc.service_config_disable_resolution': 1,
    'grpc.max_receive_message_length': maxReceiveBytes,
    // A server that comes back is found within seconds.
    'grpc.initial_reconnect_backoff_ms': 100,
    'grpc.max_reconnect_backoff_ms': 1_000,
    'grpc.min_reconnect_backoff_ms': 5_000, // the time that one attempt may take, in spite of its name
    // A server whose machine vanished without a word is found out within this, even between calls.
    'grpc.keepalive_time_ms': 20_000,
    'grpc.keepalive_timeout_ms': 5_000,
    'grpc.keepalive_permit_without_calls': 1,
    ...(options.tls?.serverName !== undefined && {
      'grpc.ssl_target_name_override': options.tls.serverName,
      'grpc.default_authority': options.tls.serverName,
    }),
  };
  const channel = new Channel(channelTarget(addresses), channelCredentials(options.tls), channelOptions);
  channel.getConnectivityState(true);
  let closed = false;
  const state = (): ConnectionState => (closed ? 'closed' : STATES[channel.getConnectivityState(true)]);
  return {
    client: createClientFactory()
      .use(callMiddleware({ ...options, closed: () => closed }))
      .create(definition, channel),
    state,
    async ready(ms) {
      const deadline = Date.now() + ms;
      for (;;) {
        const before = closed ? connectivityState.SHUTDOWN : channel.getConnectivityState(true);
        if (before === connectivityState.READY) return true;
        if (before === connectivityState.SHUTDOWN || Date.now() >= deadline) return false;
        await new Promise<void>((resolve) => channel.watchConnectivityState(before, deadline, () => resolve()));
      }
    },
    close() {
      if (closed) return;
      closed = true;
      channel.close();
    },
  };
}

const STATES: Readonly<Record<connectivityState, ConnectionState>> = {
  [connectivityState.IDLE]: 'idle',
  [connectivityState.CONNECTING]: 'connecting',
  [connectivityState.READY]: 'ready',
  [connectivityState.TRANSIENT_FAILURE]: 'failing',
  [connectivityState.SHUTDOWN]: 'closed',
};
