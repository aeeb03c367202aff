import { z } from 'zod';

const size = z
  .int()
  .min(1)
  .max(1 << 20);
const tower = { width: size.max(8192), layers: size.max(128), heads: size.max(256) };

/** Sizes of a CLIP model, as `config.json` holds them; a size that does not divide another as it must is named. */
export const clipConfigSchema = z
  .strictObject({
    model: z.literal('clip'),
    /** Width E of the shared space. */
    embeddingSize: size.max(8192),
    vision: z.strictObject({ imageSize: size.max(4096), patchSize: size.max(512), ...tower }),
    /** A text has its tokens and two marks. */
    text: z.strictObject({ contextLength: z.int().min(3).max(1024), vocabularySize: size, ...tower }),
    /** Of both towers' perceptrons; `quickGelu`, OpenAI's, when left out. Many later models have `gelu`. */
    activation: z.enum(['quickGelu', 'gelu']).optional(),
  })
  .superRefine(({ vision, text }, context) => {
    const refuse = (path: string[], input: number, message: string): void =>
      context.addIssue({ code: 'custom', path, input, message });
    if (vision.imageSize % vision.patchSize !== 0) {
      refuse(['vision', 'imageSize'], vision.imageSize, `must be a multiple of vision.patchSize (${vision.patchSize})`);
    }
    for (const [name, { width, heads }] of Object.entries({ vision, text })) {
      if (width % heads !== 0) refuse([name, 'heads'], heads, `must divide ${name}.width (${width})`);
    }
  });

/** Sizes of a CLIP model. */
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
    vision: { imageSize: 64, patchSize: 16, width: 192, layers: 6, heads: 3 },
    text: { contextLength: 24, vocabularySize: 8192, width: 192, layers: 3, heads: 3 },
  },
} as const satisfies Record<string, ClipConfig>;
