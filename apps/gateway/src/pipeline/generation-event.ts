import type { EncodedPicture } from '../picture-encoding.ts';

/** What happens on the way from prompt to pictures, in this order; `progress` and `partial` come between each other. */
export type GenerationEvent =
  | { readonly kind: 'accepted'; readonly seed: number; readonly candidates: number }
  | GenerationProgress
  | { readonly kind: 'partial'; readonly index: number; readonly picture: EncodedPicture }
  | RankedPicture
  | GenerationFinished;

export interface GenerationProgress {
  readonly kind: 'progress';
  readonly tokens: number;
  readonly tokensTotal: number;
  /** Pictures decoded and judged. */
  readonly images: number;
  readonly imagesTotal: number;
}

/** One of the pictures that were asked for; they come best first. */
export interface RankedPicture {
  readonly kind: 'picture';
  /** From 0. */
  readonly rank: number;
  /** Cosine of its CLIP embedding with the prompt's. */
  readonly score: number;
  readonly candidate: number;
  readonly picture: EncodedPicture;
}

export interface GenerationFinished {
  readonly kind: 'finished';
  /** From arrival, waiting included. */
  readonly totalMs: number;
  readonly tokens: number;
}
