import { z } from 'zod';

const size = z
  .int()
  .min(1)
  .max(1 << 20);

/** Sizes of the conditional transformer, as `config.json` holds them. */
export const gptConfigSchema = z
  .strictObject({
    model: z.literal('gpt'),
    /** Number of image tokens T: the block size. */
    tokens: size.max(1024),
    /** Codebook size K. */
    vocabularySize: size,
    /** Width of the CLIP embedding. */
    conditionSize: size.max(8192),
    width: size.max(16384),
    layers: size.max(256),
    /** Must divide the width. */
    heads: size.max(256),
  })
  .superRefine(({ width, heads }, context) => {
    if (width % heads === 0) return;
    context.addIssue({ code: 'custom', path: ['heads'], input: heads, message: `must divide width (${width})` });
  });

/** Sizes of a conditional transformer. */
export type GptConfig = z.infer<typeof gptConfigSchema>;

/** The released sizes, and the small one of the emoji model. */
export const GPT_PRESETS = {
  'gpt2-medium': {
    model: 'gpt',
    tokens: 256,
    vocabularySize: 16384,
    conditionSize: 512,
    width: 1024,
    layers: 24,
    heads: 16,
  },
  'gpt2-large': {
    model: 'gpt',
    tokens: 256,
    vocabularySize: 16384,
    conditionSize: 512,
    width: 1280,
    layers: 36,
    heads: 20,
  },
  'gpt-mini': { model: 'gpt', tokens: 64, vocabularySize: 2048, conditionSize: 256, width: 256, layers: 5, heads: 4 },
} as const satisfies Record<string, GptConfig>;
