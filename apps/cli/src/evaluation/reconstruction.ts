import { meanSquaredError, type RgbImage } from '@clip-gen/image';

/** Peak signal-to-noise ratio of two 8-bit pictures of one size in dB: 10·log10(255² / mse); Infinity when equal. */
export function psnr(a: RgbImage, b: RgbImage): number {
  return 10 * Math.log10(255 ** 2 / meanSquaredError(a, b));
}
