import { invalidArgument } from '@clip-gen/errors';
import { centreCrop, cropImage, resizeImage } from './resize-image.ts';
import { checkRgbImage, type RgbImage } from './rgb-image.ts';

/** Of a picture that is longer than this many of its shorter side, the ends are cut off before scaling. */
const MAX_ASPECT = 16;

/**
 * The middle square of a picture, scaled (bicubic) so that its shorter side has `side` pixels. However long the picture,
 * what is scaled stays small.
 *
 * @returns a new picture, or the same when nothing is to be done
 * @throws invalid_argument for a malformed picture or unless `side` is a positive integer
 */
export async function fitSquare(image: RgbImage, side: number): Promise<RgbImage> {
  checkRgbImage(image);
  if (!Number.isInteger(side) || side < 1) throw invalidArgument('side', 'a positive integer', side);
  if (image.width === side && image.height === side) return image;
  const whole = cutEnds(image);
  const scale = side / Math.min(whole.width, whole.height);
  const scaled = { width: Math.round(whole.width * scale), height: Math.round(whole.height * scale) };
  return centreCrop(scale === 1 ? whole : await resizeImage(whole, scaled), side);
}

function cutEnds(image: RgbImage): RgbImage {
  const longest = MAX_ASPECT * Math.min(image.width, image.height);
  if (Math.max(image.width, image.height) <= longest) return image;
  const width = Math.min(image.width, longest);
  const height = Math.min(image.height, longest);
  return cropImage(image, { left: (image.width - width) >> 1, top: (image.height - height) >> 1, width, height });
}
