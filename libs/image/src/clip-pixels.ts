import { invalidArgument } from '@clip-gen/errors';
import type { Tensor } from '@clip-gen/tensor';
import { CLIP_NORMALISATION, imagesToTensor } from './pixel-tensor.ts';
import { centreCrop, resizeImage } from './resize-image.ts';
import { checkRgbImage, type RgbImage } from './rgb-image.ts';

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
  for (const image of images) {
    checkRgbImage(image);
    const scale = size / Math.min(image.width, image.height);
    const scaled = { width: Math.round(image.width * scale), height: Math.round(image.height * scale) };
    squares.push(centreCrop(scale === 1 ? image : await resizeImage(image, scaled), size));
  }
  return imagesToTensor(squares, CLIP_NORMALISATION);
}
