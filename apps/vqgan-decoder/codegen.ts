import { settingsTable } from '@clip-gen/config';
import { WorkQueue } from '@clip-gen/serving';
import { Metrics } from '@clip-gen/telemetry';
import { DECODER_SETTINGS } from './src/config.ts';
import { DecoderMetrics } from './src/decoder-metrics.ts';

/** The tables of the README. */
export const readme = {
  path: 'apps/vqgan-decoder/README.md',
  sections: () => ({ settings: settingsTable(DECODER_SETTINGS), metrics: metricsTable() }),
};

function metricsTable(): string {
  const metrics = new Metrics({ process: false });
  new WorkQueue({ name: 'decoder', concurrency: 1, maxWaiting: 1, metrics });
  new DecoderMetrics(metrics);
  return metrics.describe();
}
