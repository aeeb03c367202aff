import type { RgbImage } from '@clip-gen/image';

/** Peak signal-to-noise ratio of two 8-bit pictures of one size in dB: 10·log10(255² / mse); Infinity when equal. */
export function psnr(a: RgbImage, b: RgbImage): number {
  let sum = 0;
  for (let i = 0; i < a.data.length; i++) sum += (a.data[i]! - b.data[i]!) ** 2;
  return 10 * Math.log10(255 ** 2 / (sum / a.data.length));
}
