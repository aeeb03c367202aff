import { defineSettings, integer, text, type SettingsOf, type SettingSources } from '@clip-gen/config';
import { serviceSettings } from '@clip-gen/service';

/** Everything that can be set: flags, environment, help and README come from this. */
export const SAMPLER_SETTINGS = defineSettings('transformer-sampler', {
  model: text({
    default: 'models/emoji',
    description:
      "The model's folder, or that of its transformer alone; a relative path starts at the working directory.",
  }),
  generationDefaults: text({
    default: '',
    description:
      'A file like generation.json, for what requests leave unset; empty: generation.json in the model’s folder, if it is there.',
  }),
  ...serviceSettings({ address: 50_052, metricsAddress: 9052 }),
  concurrency: integer({
    default: 1,
    min: 1,
    max: 64,
    description: 'Calls that are sampled at the same time; each may hold 2 GiB of keys and values.',
  }),
  maxGrids: integer({
    default: 256,
    min: 1,
    max: 256,
    description: 'Grids of one call: conditions · candidates.',
  }),
  bufferTokens: integer({
    default: 65_536,
    min: 1,
    max: 1 << 20,
    unit: 'tokens',
    description: 'How far sampling may be ahead of a reader before it pauses.',
  }),
  stallMs: integer({
    default: 5000,
    min: 0,
    max: 600_000,
    unit: 'ms',
    description: 'How long one call may pause in all for its reader before it ends with RESOURCE_EXHAUSTED.',
  }),
});

export type SamplerSettings = SettingsOf<typeof SAMPLER_SETTINGS>;

/** Where a process gets its settings from; the only place that reads the environment. */
export function processSources(argv: readonly string[]): SettingSources {
  return { argv, env: process.env };
}
