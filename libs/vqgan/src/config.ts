import { z } from 'zod';

const size = z
  .int()
  .min(1)
  .max(1 << 20);

const patchEncoder = z.strictObject({
  /** Width of a patch's embedding; the perceptrons are four times as wide inside. */
  width: size.max(4096),
  /** Residual perceptrons after the embedding. */
  blocks: size.max(16),
});

/** Sizes of an encoder whose tokens each see their own patch alone. */
export type PatchEncoderConfig = z.infer<typeof patchEncoder>;

/** Sizes of a VQGAN, as `config.json` holds them; a size that does not divide another as it must is named. */
export const vqganConfigSchema = z
  .strictObject({
    model: z.literal('vqgan'),
    /** Side S of the square picture in pixels. */
    imageSize: size.max(8192),
    /** Pixels are unshuffled by this factor before the first convolution and shuffled back after the last; 1 = not. */
    patchSize: size.max(16),
    /** Channels of the first level. */
    channels: size.max(4096),
    /** Channel multiplier of each level, finest first; each level but the last halves the side. */
    multipliers: z.array(size.max(64)).min(1).max(8),
    /** Residual blocks of each level of the convolutional encoder; a decoder level has one more. */
    blocks: size.max(16),
    /** Sides of the map (after patching) at which attention follows each residual block. */
    attentionSides: z.array(size),
    /** Groups of GroupNorm; must divide every channel count. */
    groups: size,
    /** Number of codes K. */
    codebookSize: size,
    /** Width of a code. */
    codeSize: size.max(4096),
    /** In place of the convolutional encoder one whose tokens each see their own patch alone. */
    patchEncoder: patchEncoder.optional(),
    /** Epsilon of GroupNorm; 1e-5 when left out, 1e-6 in taming-transformers. */
    normEpsilon: z.number().min(1e-12).max(1e-2).optional(),
    /** Channels between the 1×1 convolutions around the quantiser and the rest; `codeSize` when left out. */
    latentSize: size.max(4096).optional(),
    /** How a latent chooses its code: `nearest` (when left out), or the largest of K learned projections of it. */
    codeChoice: z.enum(['nearest', 'projection']).optional(),
  })
  .superRefine(({ imageSize, patchSize, multipliers, channels, groups }, context) => {
    const refuse = (field: string, input: number, message: string): void =>
      context.addIssue({ code: 'custom', path: [field], input, message });
    const factor = patchSize * 2 ** (multipliers.length - 1);
    if (imageSize % factor !== 0) {
      refuse('imageSize', imageSize, `must be a multiple of patchSize · 2^(levels−1) (${factor})`);
    }
    const odd = [1, ...multipliers].find((multiplier) => (channels * multiplier) % groups !== 0);
    if (odd !== undefined) refuse('groups', groups, `must divide channels · ${odd} (${channels * odd})`);
  });

/** Sizes of a VQGAN. */
export type VqganConfig = z.infer<typeof vqganConfigSchema>;

/** Side of the token grid: S / (patch · 2^(levels−1)). */
export function gridSide(config: VqganConfig): number {
  return config.imageSize / (config.patchSize * 2 ** (config.multipliers.length - 1));
}

/** The released model, and the small one of the emoji model. */
export const VQGAN_PRESETS = {
  'vqgan-f16-16384': {
    model: 'vqgan',
    imageSize: 256,
    patchSize: 1,
    channels: 128,
    multipliers: [1, 1, 2, 2, 4],
    blocks: 2,
    attentionSides: [16],
    groups: 32,
    codebookSize: 16384,
    codeSize: 256,
  },
  'vqgan-f8-2048': {
    model: 'vqgan',
    imageSize: 64,
    patchSize: 2,
    channels: 32,
    multipliers: [1, 2, 4],
    blocks: 1,
    attentionSides: [],
    groups: 8,
    codebookSize: 2048,
    codeSize: 32,
    patchEncoder: { width: 192, blocks: 2 },
  },
} as const satisfies Record<
  string,
  { [K in keyof VqganConfig]: VqganConfig[K] extends unknown[] ? readonly number[] : VqganConfig[K] }
>;
