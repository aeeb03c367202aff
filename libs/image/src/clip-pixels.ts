import { invalidArgument } from '@clip-gen/errors';
import type { Tensor } from '@clip-gen/tensor';
import { fitSquare } from './fit-square.ts';
import { CLIP_NORMALISATION, imagesToTensor } from './pixel-tensor.ts';
import type { RgbImage } from './rgb-image.ts';

/**
 * Pictures as CLIP's image encoder takes them: shorter side scaled to `size` (bicubic), middle square, normalised.
 *
 * @param images at least one, of any sizes
 * @param size side of the encoder's input; 224 for ViT-B/32
 * @returns float32 (B, 3, size, size)
 * @throws invalid_argument when there is no picture or `size` is not a positive integer
 */
export async function clipPixels(images: readonly RgbImage[], size = 224): Promise<Tensor<'float32'>> {
  if (!Number.isInteger(size) || size < 1) throw invalidArgument('size', 'a positive integer', size);
  const squares: RgbImage[] = [];
  for (const image of images) squares.push(await fitSquare(image, size));
  return imagesToTensor(squares, CLIP_NORMALISATION);
}
