import { readmeTables } from '@clip-gen/service';
import { GATEWAY_SETTINGS } from './src/config.ts';
import { GatewayMetrics } from './src/gateway-metrics.ts';

/** The tables of the README. */
export const readme = {
  path: 'apps/gateway/README.md',
  sections: () =>
    readmeTables({
      settings: GATEWAY_SETTINGS,
      queue: 'generation',
      declareMetrics: (metrics) => new GatewayMetrics(metrics),
    }),
};
