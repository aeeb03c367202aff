import { invalidArgument } from '@clip-gen/errors';

/** An 8-bit sRGB picture: `data` is (height, width, 3), row-major, 0–255. Whoever made `data` owns it. */
export interface RgbImage {
  readonly width: number;
  readonly height: number;
  readonly data: Uint8Array;
}

/** Bytes of a picture's pixels. */
export function rgbBytes(width: number, height: number): number {
  return width * height * 3;
}

/**
 * Passes a picture whose sizes and data agree.
 *
 * @throws invalid_argument when a side is not a positive integer or `data` does not hold height·width·3 bytes
 */
export function checkRgbImage(image: RgbImage, argument = 'image'): RgbImage {
  const { width, height, data } = image;
  if (!Number.isInteger(width) || width < 1) throw invalidArgument(`${argument}.width`, 'a positive integer', width);
  if (!Number.isInteger(height) || height < 1)
    throw invalidArgument(`${argument}.height`, 'a positive integer', height);
  if (data.length !== rgbBytes(width, height)) {
    throw invalidArgument(`${argument}.data`, `${rgbBytes(width, height)} bytes for ${width}x${height}`, data.length);
  }
  return image;
}
