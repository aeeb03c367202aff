import { ClipGenError, invalidArgument } from '@clip-gen/errors';
import { tensor, type Tensor } from '@clip-gen/tensor';
import { checkRgbImage, rgbBytes, type RgbImage } from './rgb-image.ts';

/** Per-channel (R, G, B) affine map of pixels in 0..1: (value − mean) / std. */
export interface Normalisation {
  readonly mean: readonly [number, number, number];
  readonly std: readonly [number, number, number];
}

/** 0..1 → −1..1, as VQGAN takes pixels. */
export const SYMMETRIC: Normalisation = { mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5] };

/** What CLIP's image encoder was trained with. */
export const CLIP_NORMALISATION: Normalisation = {
  mean: [0.48145466, 0.4578275, 0.40821073],
  std: [0.26862954, 0.26130258, 0.27577711],
};

/**
 * Pictures of one size as float32 (B, 3, H, W).
 *
 * @param images at least one; all of the same size
 * @param normalisation −1..1 by default
 * @throws invalid_argument when there is none or the sizes differ
 */
export function imagesToTensor(
  images: readonly RgbImage[],
  normalisation: Normalisation = SYMMETRIC,
): Tensor<'float32'> {
  const first = images[0];
  if (first === undefined) throw invalidArgument('images', 'at least one picture', 'none');
  const { width, height } = first;
  const plane = width * height;
  const data = new Float32Array(images.length * plane * 3);
  const tables = levelTables(normalisation);
  images.forEach((image, b) => {
    checkRgbImage(image, `images[${b}]`);
    if (image.width !== width || image.height !== height) {
      throw invalidArgument(`images[${b}]`, `${width}x${height} as the first`, `${image.width}x${image.height}`);
    }
    for (let c = 0; c < 3; c++) {
      const levels = tables[c]!;
      const to = (b * 3 + c) * plane;
      for (let i = 0, from = c; i < plane; i++, from += 3) data[to + i] = levels[image.data[from]!]!;
    }
  });
  return tensor('float32', [images.length, 3, height, width], data);
}

/**
 * The pictures of a float32 (B, 3, H, W) tensor: values are mapped back, clamped to 0–255 and rounded; NaN becomes 0.
 *
 * @throws invalid_argument for another shape
 */
export function tensorToImages(pixels: Tensor<'float32'>, normalisation: Normalisation = SYMMETRIC): RgbImage[] {
  const [batch, channels, height, width] = pixels.shape;
  if (pixels.shape.length !== 4 || channels !== 3 || batch === undefined || !height || !width) {
    throw new ClipGenError('invalid_argument', `pixels must have shape [B, 3, H, W]; got [${pixels.shape.join(', ')}]`);
  }
  const plane = height * width;
  const images: RgbImage[] = [];
  for (let b = 0; b < batch; b++) {
    const data = new Uint8Array(rgbBytes(width, height));
    for (let c = 0; c < 3; c++) {
      const scale = normalisation.std[c]! * 255;
      const shift = normalisation.mean[c]! * 255 + 0.5;
      const from = (b * 3 + c) * plane;
      for (let i = 0, to = c; i < plane; i++, to += 3) {
        const level = pixels.data[from + i]! * scale + shift;
        data[to] = level <= 0 ? 0 : level >= 255 ? 255 : level; // stored by truncation: + 0.5 above rounds
      }
    }
    images.push({ width, height, data });
  }
  return images;
}

/** For each channel, the normalised value of each of the 256 levels. */
export function levelTables(normalisation: Normalisation): readonly [Float32Array, Float32Array, Float32Array] {
  const table = (c: 0 | 1 | 2): Float32Array =>
    Float32Array.from({ length: 256 }, (_, level) => (level / 255 - normalisation.mean[c]) / normalisation.std[c]);
  return [table(0), table(1), table(2)];
}
