import { invalidArgument } from '@clip-gen/errors';
import type { RgbImage } from './rgb-image.ts';

/**
 * Mean over all samples of (a − b)², in [0, 255²]; 0 for equal pictures.
 *
 * @throws invalid_argument when the sizes differ
 */
export function meanSquaredError(a: RgbImage, b: RgbImage): number {
  if (a.width !== b.width || a.height !== b.height) {
    throw invalidArgument('b', `${a.width}x${a.height}, as a`, `${b.width}x${b.height}`);
  }
  let sum = 0;
  for (let i = 0; i < a.data.length; i++) sum += (a.data[i]! - b.data[i]!) ** 2;
  return sum / a.data.length;
}
