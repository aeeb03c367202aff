import { settingsTable, type Settings } from '@clip-gen/config';
import { WorkQueue } from '@clip-gen/serving';
import { Metrics } from '@clip-gen/telemetry';

/** What a program with a queue has, for the tables of its README. */
export interface ProgramTables {
  readonly settings: Settings;
  /** Name of its queue. */
  readonly queue: string;
  /** Declares the metrics that it has besides. */
  readonly declareMetrics: (metrics: Metrics) => unknown;
}

/** Markdown tables of a program's settings and metrics, by the names of the README's sections. */
export function readmeTables({
  settings,
  queue,
  declareMetrics,
}: ProgramTables): Record<'settings' | 'metrics', string> {
  const metrics = new Metrics({ process: false });
  new WorkQueue({ name: queue, concurrency: 1, maxWaiting: 1, metrics });
  declareMetrics(metrics);
  return { settings: settingsTable(settings), metrics: metrics.describe() };
}
