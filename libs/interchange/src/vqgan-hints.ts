import type { Settings } from './settings.ts';

/** What a VQGAN's weights do not tell. */
export interface VqganHints {
  /** Side of its pictures; the convolutions take any. 256 when left out. */
  readonly imageSize?: number;
  /** Of its GroupNorms; 32 when left out. */
  readonly groups?: number;
  /** taming-transformers' YAML, held against the weights. */
  readonly settings?: Settings;
}

/** Side of the pictures of every published VQGAN. */
export const PUBLISHED_SIDE = 256;
/** GroupNorm's groups of every published VQGAN. */
export const PUBLISHED_GROUPS = 32;

/** What was taken for granted about sizes. */
export function sizeNotes({ imageSize, settings }: VqganHints): string[] {
  const told = imageSize !== undefined || settings !== undefined;
  return told ? [] : [`pictures: ${PUBLISHED_SIDE}x${PUBLISHED_SIDE}; --image-size says otherwise`];
}
