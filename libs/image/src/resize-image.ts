import sharp from 'sharp';
import { invalidArgument } from '@clip-gen/errors';
import { DEFAULT_MAX_PIXELS } from './decode-image.ts';
import { checkRgbImage, rgbBytes, type RgbImage } from './rgb-image.ts';

/**
 * How pixels are weighed. All but `nearest` widen with the scale when shrinking, so that every pixel counts: `linear`
 * is then a triangle over the area, `cubic` is Catmull-Rom (a = −0.5).
 */
export type ResizeKernel = 'nearest' | 'linear' | 'cubic' | 'lanczos3';

/**
 * Scales to exactly width × height.
 *
 * @returns a new picture; the input is only read
 * @throws invalid_argument when a side is not a positive integer or the result would pass 100 million pixels
 */
export async function resizeImage(
  image: RgbImage,
  size: { readonly width: number; readonly height: number },
  kernel: ResizeKernel = 'cubic',
): Promise<RgbImage> {
  checkRgbImage(image);
  const { width, height } = size;
  if (!Number.isInteger(width) || width < 1) throw invalidArgument('width', 'a positive integer', width);
  if (!Number.isInteger(height) || height < 1) throw invalidArgument('height', 'a positive integer', height);
  if (width * height > DEFAULT_MAX_PIXELS) {
    throw invalidArgument('size', `at most ${DEFAULT_MAX_PIXELS} pixels`, `${width}x${height}`);
  }
  const data = await sharp(image.data, { raw: { width: image.width, height: image.height, channels: 3 } })
    .resize({ width, height, fit: 'fill', kernel })
    .raw()
    .toBuffer();
  return { width, height, data };
}

/**
 * Cuts out a rectangle that lies inside the picture.
 *
 * @returns a new picture
 * @throws invalid_argument when the rectangle leaves the picture
 */
export function cropImage(
  image: RgbImage,
  area: { readonly left: number; readonly top: number; readonly width: number; readonly height: number },
): RgbImage {
  checkRgbImage(image);
  const { left, top, width, height } = area;
  const inside = left >= 0 && top >= 0 && width >= 1 && height >= 1;
  const whole = [left, top, width, height].every(Number.isInteger);
  if (!inside || !whole || left + width > image.width || top + height > image.height) {
    throw invalidArgument('area', `inside ${image.width}x${image.height}`, `${width}x${height} at ${left},${top}`);
  }
  const data = new Uint8Array(rgbBytes(width, height));
  for (let y = 0; y < height; y++) {
    const from = rgbBytes(image.width, top + y) + left * 3;
    data.set(image.data.subarray(from, from + width * 3), y * width * 3);
  }
  return { width, height, data };
}

/** The middle square of `size` pixels. @throws invalid_argument when the picture is smaller */
export function centreCrop(image: RgbImage, size: number): RgbImage {
  const left = (image.width - size) >> 1;
  return cropImage(image, { left, top: (image.height - size) >> 1, width: size, height: size });
}
