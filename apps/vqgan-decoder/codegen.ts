import { readmeTables } from '@clip-gen/service';
import { DECODER_SETTINGS } from './src/config.ts';
import { DecoderMetrics } from './src/decoder-metrics.ts';

/** The tables of the README. */
export const readme = {
  path: 'apps/vqgan-decoder/README.md',
  sections: () =>
    readmeTables({
      settings: DECODER_SETTINGS,
      queue: 'decoder',
      declareMetrics: (metrics) => new DecoderMetrics(metrics),
    }),
};
