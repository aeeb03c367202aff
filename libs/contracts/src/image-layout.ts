import { invalidArgument } from '@clip-gen/errors';
import { ImageFormat, type Image } from './generated/clipgen/v1/image.ts';

/** An {@link ImageFormat} by name, as code that knows no messages calls it. */
export type ImageLayout = 'rgb8' | 'png' | 'jpeg' | 'webp';

/** A picture's bytes: what a message has, with the layout by name. */
export interface ImageBytes {
  readonly layout: ImageLayout;
  /** Pixels; 0 where an encoded picture itself tells. */
  readonly width: number;
  readonly height: number;
  readonly data: Uint8Array;
}

const FORMATS: Readonly<Record<ImageLayout, ImageFormat>> = {
  rgb8: ImageFormat.IMAGE_FORMAT_RGB8,
  png: ImageFormat.IMAGE_FORMAT_PNG,
  jpeg: ImageFormat.IMAGE_FORMAT_JPEG,
  webp: ImageFormat.IMAGE_FORMAT_WEBP,
};

const LAYOUTS: ReadonlyMap<ImageFormat, ImageLayout> = new Map([
  [ImageFormat.IMAGE_FORMAT_UNSPECIFIED, 'png'],
  ...(Object.keys(FORMATS) as ImageLayout[]).map((layout) => [FORMATS[layout], layout] as const),
]);

/**
 * How bytes are laid out; PNG where a request does not say.
 *
 * @param name of the field, for the error
 * @throws invalid_argument for a number that the contract lacks
 */
export function readImageFormat(format: ImageFormat, name: string): ImageLayout {
  const layout = LAYOUTS.get(format);
  if (layout === undefined) throw invalidArgument(name, 'a format of the contract, 0 to 4', format);
  return layout;
}

/** A message's picture; its bytes are the message's. @throws invalid_argument for a format that the contract lacks */
export function readImageMessage({ format, width, height, data }: Image, name: string): ImageBytes {
  return { layout: readImageFormat(format, `${name}.format`), width, height, data };
}

/** The message of a picture; its bytes are the picture's. */
export function imageMessage({ layout, width, height, data }: ImageBytes): Image {
  return { format: FORMATS[layout], width, height, data };
}
