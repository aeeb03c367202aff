import { z } from 'zod';

const size = z
  .int()
  .min(1)
  .max(1 << 20);
const tower = { width: size.max(8192), layers: size.max(128), heads: size.max(256) };

/** Sizes of a CLIP model, as `config.json` holds them. */
export const clipConfigSchema = z.strictObject({
  model: z.literal('clip'),
  /** Width E of the shared space. */
  embeddingSize: size.max(8192),
  vision: z.strictObject({ imageSize: size.max(4096), patchSize: size.max(512), ...tower }),
  text: z.strictObject({ contextLength: size.max(4096), vocabularySize: size, ...tower }),
});

export type ClipConfig = z.infer<typeof clipConfigSchema>;

/** The released model's CLIP, and the small one of the emoji model. */
export const CLIP_PRESETS = {
  'vit-b-32': {
    model: 'clip',
    embeddingSize: 512,
    vision: { imageSize: 224, patchSize: 32, width: 768, layers: 12, heads: 12 },
    text: { contextLength: 77, vocabularySize: 49408, width: 512, layers: 12, heads: 8 },
  },
  'vit-64': {
    model: 'clip',
    embeddingSize: 256,
    vision: { imageSize: 64, patchSize: 8, width: 192, layers: 6, heads: 3 },
    text: { contextLength: 32, vocabularySize: 8192, width: 192, layers: 4, heads: 3 },
  },
} as const satisfies Record<string, ClipConfig>;
