import { ImageFormat, type Image } from '@clip-gen/contracts';
import { invalidArgument } from '@clip-gen/errors';
import type { PictureBytes } from '@clip-gen/image';

type Layout = PictureBytes['layout'];

const LAYOUTS: ReadonlyMap<ImageFormat, Layout> = new Map([
  [ImageFormat.IMAGE_FORMAT_UNSPECIFIED, 'png'],
  [ImageFormat.IMAGE_FORMAT_RGB8, 'rgb8'],
  [ImageFormat.IMAGE_FORMAT_PNG, 'png'],
  [ImageFormat.IMAGE_FORMAT_JPEG, 'jpeg'],
  [ImageFormat.IMAGE_FORMAT_WEBP, 'webp'],
]);
const FORMATS = {
  rgb8: ImageFormat.IMAGE_FORMAT_RGB8,
  png: ImageFormat.IMAGE_FORMAT_PNG,
  jpeg: ImageFormat.IMAGE_FORMAT_JPEG,
  webp: ImageFormat.IMAGE_FORMAT_WEBP,
} as const;

/** How the bytes of a message's picture are laid out. @throws invalid_argument for a format that the contract lacks */
export function readFormat(format: ImageFormat, name: string): Layout {
  const layout = LAYOUTS.get(format);
  if (layout === undefined) throw invalidArgument(name, 'a format of the contract, 0 to 4', format);
  return layout;
}

/** A message's picture. @throws invalid_argument for a format that the contract lacks */
export function readImageMessage({ format, width, height, data }: Image, name: string): PictureBytes {
  return { layout: readFormat(format, `${name}.format`), width, height, data };
}

/** The message of a picture. */
export function imageMessage({ layout, width, height, data }: PictureBytes): Image {
  return { format: FORMATS[layout], width, height, data };
}
