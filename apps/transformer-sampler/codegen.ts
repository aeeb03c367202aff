import { readmeTables } from '@clip-gen/service';
import { SAMPLER_SETTINGS } from './src/config.ts';
import { SamplerMetrics } from './src/sampler-metrics.ts';

/** The tables of the README. */
export const readme = {
  path: 'apps/transformer-sampler/README.md',
  sections: () =>
    readmeTables({
      settings: SAMPLER_SETTINGS,
      queue: 'sampler',
      declareMetrics: (metrics) => new SamplerMetrics(metrics),
    }),
};
