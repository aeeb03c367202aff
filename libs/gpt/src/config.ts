import { z } from 'zod';

const size = z
  .int()
  .min(1)
  .max(1 << 20);

/** What the width of a head must be a multiple of: ONNX Runtime's GroupQueryAttention, which decodes, runs no other. */
const HEAD_WIDTH_STEP = 8;

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
    /** Must divide the width into heads whose own width is a multiple of 8. */
    heads: size.max(256),
  })
  .superRefine(({ width, heads }, context) => {
    const refuse = (message: string): void => {
      context.addIssue({ code: 'custom', path: ['heads'], input: heads, message });
    };
    if (width % heads !== 0) refuse(`must divide width (${width})`);
    else if (width % (heads * HEAD_WIDTH_STEP) !== 0) {
      refuse(`must make width / heads (${width / heads}) a multiple of ${HEAD_WIDTH_STEP}`);
    }
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
