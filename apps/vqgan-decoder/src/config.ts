import { choice, defineSettings, integer, text, type SettingsOf, type SettingSources } from '@clip-gen/config';
import { MODEL_DECODERS } from '@clip-gen/generation';
import { serviceSettings } from '@clip-gen/service';

/** Everything that can be set: flags, environment, help and README come from this. */
export const DECODER_SETTINGS = defineSettings('vqgan-decoder', {
  model: text({
    default: 'models/emoji',
    description: "The model's folder, or that of its VQGAN alone; a relative path starts at the working directory.",
  }),
  decoder: choice({
    default: 'vqgan',
    values: MODEL_DECODERS,
    description: "Which of the model's decoders: its VQGAN, or the small one of preview/, many times faster.",
  }),
  decoderManifest: text({
    default: '',
    description: 'A decoder.json that describes an ONNX file, which is then served instead of the model.',
  }),
  ...serviceSettings({ address: 50_053, metricsAddress: 9053 }),
  queueLimit: integer({
    default: 32,
    min: 1,
    max: 65_536,
    description: 'Encode calls that may be open; past it comes RESOURCE_EXHAUSTED, with the time to come again.',
  }),
  maxDecodes: integer({
    default: 128,
    min: 1,
    max: 65_536,
    description: 'Decode streams that may be open; past it comes RESOURCE_EXHAUSTED, with the time to come again.',
  }),
  concurrency: integer({
    default: 1,
    min: 1,
    max: 64,
    description: 'Calls that use the network at the same time.',
  }),
  turnGrids: integer({
    default: 4,
    min: 1,
    max: 16,
    description: 'Grids that are decoded together before another stream has its turn.',
  }),
  maxGrids: integer({ default: 256, min: 1, max: 256, description: 'Grids of one stream: conditions · candidates.' }),
  idleMs: integer({
    default: 300_000,
    min: 10,
    max: 3_600_000,
    unit: 'ms',
    description: 'How long a Decode stream may wait for its next message; then DEADLINE_EXCEEDED.',
  }),
  maxImageBytes: integer({
    default: 4 << 20,
    min: 1024,
    max: 1 << 28,
    unit: 'bytes',
    description: 'Largest picture that Encode takes, as it is sent.',
  }),
  maxImagePixels: integer({
    default: 16 << 20,
    min: 1,
    max: 1 << 26,
    unit: 'pixels',
    description: 'Largest picture that Encode takes, counted before it is decoded.',
  }),
});

export type DecoderSettings = SettingsOf<typeof DECODER_SETTINGS>;

/** Where a process gets its settings from; the only place that reads the environment. */
export function processSources(argv: readonly string[]): SettingSources {
  return { argv, env: process.env };
}
