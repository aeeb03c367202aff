import { defineSettings, integer, text, type SettingsOf, type SettingSources } from '@clip-gen/config';
import { serviceSettings } from '@clip-gen/service';

/** Everything that can be set: flags, environment, help and README come from this. */
export const EMBEDDING_SETTINGS = defineSettings('clip-embedding', {
  model: text({
    default: 'models/emoji',
    description: "The model's folder, or that of its CLIP alone; a relative path starts at the working directory.",
  }),
  ...serviceSettings({ address: 50_051, metricsAddress: 9051 }),
  maxReceiveBytes: integer({
    default: 16 << 20,
    min: 1024,
    max: 1 << 30,
    unit: 'bytes',
    description: 'Largest message that is taken; a call with many pictures is one.',
  }),
  concurrency: integer({
    default: 1,
    min: 1,
    max: 64,
    description: 'Calls that are worked on at the same time.',
  }),
  maxTexts: integer({ default: 64, min: 1, max: 64, description: 'Texts of one call.' }),
  maxTextCharacters: integer({ default: 1000, min: 1, max: 1000, unit: 'characters', description: 'Longest text.' }),
  maxImages: integer({ default: 64, min: 1, max: 64, description: 'Pictures of one call.' }),
  maxImageBytes: integer({
    default: 4 << 20,
    min: 1024,
    max: 1 << 28,
    unit: 'bytes',
    description: 'Largest picture, as it is sent.',
  }),
  maxImagePixels: integer({
    default: 16 << 20,
    min: 1,
    max: 1 << 26,
    unit: 'pixels',
    description: 'Largest picture, counted before it is decoded.',
  }),
});

export type EmbeddingSettings = SettingsOf<typeof EMBEDDING_SETTINGS>;

/** Where a process gets its settings from; the only place that reads the environment. */
export function processSources(argv: readonly string[]): SettingSources {
  return { argv, env: process.env };
}
