import type { Logger, MetricsText } from '@clip-gen/telemetry';
import type { ApiKeys } from './api-keys.ts';
import type { GatewaySettings } from './config.ts';
import type { GatewayMetrics } from './gateway-metrics.ts';
import type { RequestLimits } from './generation-request.ts';
import type { Peers } from './peers/peers.ts';
import type { Generator } from './pipeline/generator.ts';
import type { TextEmbedder } from './pipeline/text-embedder.ts';

/** What both doors stand before. */
export interface Core {
  readonly settings: GatewaySettings;
  readonly keys: ApiKeys;
  readonly peers: Peers;
  readonly generator: Generator;
  readonly embedder: TextEmbedder;
  readonly logger: Logger;
  /** What `/metrics` shows. */
  readonly shownMetrics: MetricsText;
  readonly gatewayMetrics: GatewayMetrics;
  /** What a request may ask for now. */
  limits(): RequestLimits;
  /** A request that names no decoder can be served, and this process is not about to end. */
  ready(): boolean;
  /** This process is about to end and takes no more requests. */
  draining(): boolean;
}
