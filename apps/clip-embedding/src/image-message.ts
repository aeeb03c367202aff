import { ImageFormat, type Image } from '@clip-gen/contracts';
import { invalidArgument } from '@clip-gen/errors';
import type { PictureBytes } from '@clip-gen/image';

const LAYOUTS: ReadonlyMap<ImageFormat, PictureBytes['layout']> = new Map([
  [ImageFormat.IMAGE_FORMAT_UNSPECIFIED, 'png'],
  [ImageFormat.IMAGE_FORMAT_RGB8, 'rgb8'],
  [ImageFormat.IMAGE_FORMAT_PNG, 'png'],
  [ImageFormat.IMAGE_FORMAT_JPEG, 'jpeg'],
  [ImageFormat.IMAGE_FORMAT_WEBP, 'webp'],
]);
/** A message's picture. @throws invalid_argument for a format that the contract lacks */
export function readImageMessage({ format, width, height, data }: Image, name: string): PictureBytes {
  const layout = LAYOUTS.get(format);
  if (layout === undefined) throw invalidArgument(`${name}.format`, 'a format of the contract, 0 to 4', format);
  return { layout, width, height, data };
}
