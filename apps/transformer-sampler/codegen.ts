import { settingsTable } from '@clip-gen/config';
import { WorkQueue } from '@clip-gen/serving';
import { Metrics } from '@clip-gen/telemetry';
import { SAMPLER_SETTINGS } from './src/config.ts';
import { SamplerMetrics } from './src/sampler-metrics.ts';

/** The tables of the README. */
export const readme = {
  path: 'apps/transformer-sampler/README.md',
  sections: () => ({ settings: settingsTable(SAMPLER_SETTINGS), metrics: metricsTable() }),
};

function metricsTable(): string {
  const metrics = new Metrics({ process: false });
  new WorkQueue({ name: 'sampler', concurrency: 1, maxWaiting: 1, metrics });
  new SamplerMetrics(metrics);
  return metrics.describe();
}
