import { readmeTables } from '@clip-gen/service';
import { EMBEDDING_SETTINGS } from './src/config.ts';
import { EmbeddingMetrics } from './src/embedding-metrics.ts';

/** The tables of the README. */
export const readme = {
  path: 'apps/clip-embedding/README.md',
  sections: () =>
    readmeTables({
      settings: EMBEDDING_SETTINGS,
      queue: 'embedding',
      declareMetrics: (metrics) => new EmbeddingMetrics(metrics),
    }),
};
