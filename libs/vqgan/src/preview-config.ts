import { z } from 'zod';
import { gridSide, type VqganConfig } from './config.ts';

const size = z
  .int()
  .min(1)
  .max(1 << 20);

/** Sizes of a preview decoder, as `config.json` holds them; the picture's side is {@link previewSide}. */
export const previewConfigSchema = z
  .strictObject({
    model: z.literal('preview'),
    /** Side g of the square token grid. */
    gridSize: size.max(1024),
    /** Number of codes K. */
    codebookSize: size,
    /** Width of a code. */
    codeSize: size.max(4096),
    /** Channels of each level, the grid's first; each level but the first doubles the side. */
    channels: z.array(size.max(4096)).min(1).max(8),
    /** For each level, 3 × 3 convolutions after the first, each added to what it has read. */
    blocks: z.array(z.int().min(0).max(16)),
    /** Pixels a place of the last level has a side. */
    patchSize: size.max(16),
  })
  .superRefine((config, context) => {
    const refuse = (field: string, input: number, message: string): void =>
      context.addIssue({ code: 'custom', path: [field], input, message });
    const { channels, blocks } = config;
    if (blocks.length !== channels.length) {
      refuse('blocks', blocks.length, `must have a number for each of the ${channels.length} levels`);
    }
    const side = previewSide(config);
    if (side > MAX_SIDE)
      refuse('gridSize', side, `the picture's side g · 2^(levels−1) · p must be at most ${MAX_SIDE}`);
  });

/** Pixels; that of a VQGAN. */
const MAX_SIDE = 8192;

/** Sizes of a preview decoder. */
export type PreviewConfig = z.infer<typeof previewConfigSchema>;

/** What a preview decoder has of its own; the rest follows the VQGAN. */
export interface PreviewSizes {
  readonly channels: readonly number[];
  readonly blocks: readonly number[];
}

/** Side S of the pictures in pixels. */
export function previewSide({ gridSize, channels, patchSize }: PreviewConfig): number {
  return gridSize * 2 ** (channels.length - 1) * patchSize;
}

/** For the released model, and for the small one of the emoji model; each is good for other VQGANs of its kind. */
export const PREVIEW_PRESETS = {
  'preview-f16-16384': { channels: [128, 64, 64, 32], blocks: [2, 1, 1, 1] },
  'preview-f8-2048': { channels: [64, 48], blocks: [1, 0] },
} as const satisfies Record<string, PreviewSizes>;

/**
 * The configuration for a VQGAN, not checked by the schema: its grid, codes and picture, and so many pixels a place of
 * the last level as the picture needs.
 */
export function previewConfigFor(vqgan: VqganConfig, { channels, blocks }: PreviewSizes): PreviewConfig {
  const { imageSize, codebookSize, codeSize } = vqgan;
  const gridSize = gridSide(vqgan);
  const patchSize = imageSize / (gridSize * 2 ** (channels.length - 1));
  return {
    model: 'preview',
    gridSize,
    codebookSize,
    codeSize,
    channels: [...channels],
    blocks: [...blocks],
    patchSize,
  };
}

/** How a preview decoder differs from what a VQGAN needs, in words; undefined when it fits. */
export function previewMisfit(config: PreviewConfig, vqgan: VqganConfig): string | undefined {
  const pairs = [
    ['gridSize', config.gridSize, gridSide(vqgan)],
    ['codebookSize', config.codebookSize, vqgan.codebookSize],
    ["its picture's side", previewSide(config), vqgan.imageSize],
  ] as const;
  const misfits = pairs.flatMap(([name, got, wanted]) =>
    got === wanted ? [] : [`${name} must be the VQGAN's ${wanted}, is ${got}`],
  );
  return misfits.length > 0 ? misfits.join('; ') : undefined;
}
