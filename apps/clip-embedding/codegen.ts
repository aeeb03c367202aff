import { settingsTable } from '@clip-gen/config';
import { WorkQueue } from '@clip-gen/serving';
import { Metrics } from '@clip-gen/telemetry';
import { EMBEDDING_SETTINGS } from './src/config.ts';
import { EmbeddingMetrics } from './src/embedding-metrics.ts';

/** The tables of the README. */
export const readme = {
  path: 'apps/clip-embedding/README.md',
  sections: () => ({ settings: settingsTable(EMBEDDING_SETTINGS), metrics: metricsTable() }),
};

function metricsTable(): string {
  const metrics = new Metrics({ process: false });
  new WorkQueue({ name: 'embedding', concurrency: 1, maxWaiting: 1, metrics });
  new EmbeddingMetrics(metrics);
  return metrics.describe();
}
