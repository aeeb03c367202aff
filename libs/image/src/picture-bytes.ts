import { ClipGenError, invalidArgument } from '@clip-gen/errors';
import { decodeImage } from './decode-image.ts';
import { encodeImage } from './encode-image.ts';
import { sniffImageFormat, type ImageFormat } from './image-format.ts';
import { rgbBytes, type RgbImage } from './rgb-image.ts';

/** A picture as bytes that are sent: a file's, or `rgb8`, rows of 3 bytes a pixel without padding. */
export interface PictureBytes {
  readonly layout: ImageFormat | 'rgb8';
  /** Pixels. Of a file they may be 0: then the file tells. */
  readonly width: number;
  readonly height: number;
  readonly data: Uint8Array;
}

/** What a picture that somebody sent may be. */
export interface PictureLimits {
  readonly maxBytes: number;
  readonly maxPixels: number;
  /** Longest side in pixels. */
  readonly maxSide: number;
}

/**
 * Whether the picture is within limits as far as its sizes and first bytes tell: a check before any work.
 *
 * @param name what errors call the picture
 * @throws invalid_argument
 */
export function checkPictureBytes(
  { layout, width, height, data }: PictureBytes,
  name: string,
  limits: PictureLimits,
): void {
  const { maxBytes, maxPixels, maxSide } = limits;
  if (data.length === 0) throw invalidArgument(`${name}.data`, 'the bytes of a picture', 'none');
  if (data.length > maxBytes) throw invalidArgument(`${name}.data`, `at most ${maxBytes} bytes`, data.length);
  const least = layout === 'rgb8' ? 1 : 0;
  for (const [side, pixels] of Object.entries({ width, height })) {
    if (!Number.isInteger(pixels) || pixels < least || pixels > maxSide) {
      throw invalidArgument(`${name}.${side}`, `in [${least}, ${maxSide}]`, pixels);
    }
  }
  if (width * height > maxPixels) {
    throw invalidArgument(name, `of at most ${maxPixels} pixels`, `${width}x${height}`);
  }
  if (layout === 'rgb8') {
    if (data.length !== rgbBytes(width, height)) {
      throw invalidArgument(`${name}.data`, `${rgbBytes(width, height)} bytes for ${width}x${height}`, data.length);
    }
  } else if (sniffImageFormat(data) !== layout) {
    throw invalidArgument(`${name}.data`, `a ${layout} file`, sniffImageFormat(data) ?? 'bytes of another kind');
  }
}

/**
 * The picture that the bytes hold. That of `rgb8` borrows them.
 *
 * @throws invalid_argument when {@link checkPictureBytes} does, when the file is damaged, or when it holds more pixels
 * than allowed or others than `width` and `height` say; pixels are counted before they are decoded
 */
export async function readPictureBytes(picture: PictureBytes, name: string, limits: PictureLimits): Promise<RgbImage> {
  checkPictureBytes(picture, name, limits);
  const { layout, width, height, data } = picture;
  if (layout === 'rgb8') return { width, height, data };
  const image = await decode(data, name, limits);
  if (Math.max(image.width, image.height) > limits.maxSide) {
    throw invalidArgument(name, `of at most ${limits.maxSide} pixels a side`, `${image.width}x${image.height}`);
  }
  if ((width !== 0 && width !== image.width) || (height !== 0 && height !== image.height)) {
    throw invalidArgument(
      `${name}.width and height`,
      `those of the file, ${image.width}x${image.height}`,
      `${width}x${height}`,
    );
  }
  return image;
}

/** The picture as bytes to send; `rgb8` lends the picture's own. Quality as `encodeImage` takes it. */
export async function writePictureBytes(
  image: RgbImage,
  layout: PictureBytes['layout'],
  quality?: number,
): Promise<PictureBytes> {
  const { width, height } = image;
  if (layout === 'rgb8') return { layout, width, height, data: image.data };
  return { layout, width, height, data: await encodeImage(image, { format: layout, quality }) };
}

/** Whoever sends a picture is answerable for it: what a file's reader finds wrong is a wrong argument here. */
async function decode(data: Uint8Array, name: string, { maxBytes, maxPixels }: PictureLimits): Promise<RgbImage> {
  try {
    return await decodeImage(data, { name, maxBytes, maxPixels });
  } catch (cause) {
    if (!(cause instanceof ClipGenError)) throw cause;
    throw new ClipGenError('invalid_argument', cause.message, { cause });
  }
}
