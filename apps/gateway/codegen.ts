import { settingsTable } from '@clip-gen/config';
import { WorkQueue } from '@clip-gen/serving';
import { Metrics } from '@clip-gen/telemetry';
import { GATEWAY_SETTINGS } from './src/config.ts';
import { GatewayMetrics } from './src/gateway-metrics.ts';

/** The tables of the README. */
export const readme = {
  path: 'apps/gateway/README.md',
  sections: () => ({ settings: settingsTable(GATEWAY_SETTINGS), metrics: metricsTable() }),
};

function metricsTable(): string {
  const metrics = new Metrics({ process: false });
  new WorkQueue({ name: 'generation', concurrency: 1, maxWaiting: 1, metrics });
  new GatewayMetrics(metrics);
  return metrics.describe();
}
