import type { Tensor } from '@clip-gen/tensor';

/** Pictures for one step of training or validation. */
export interface ImageBatch {
  /** Number of the batch in its epoch. */
  readonly step: number;
  /** (B, 3, imageSize, imageSize), −1..1. The receiver owns it. */
  readonly images: Tensor<'float32'>;
  /** For each picture its number in `files`. */
  readonly indices: Int32Array;
  /** One caption a picture, drawn among its variants in training, the first otherwise; only with captions. */
  readonly captions?: readonly string[];
}
