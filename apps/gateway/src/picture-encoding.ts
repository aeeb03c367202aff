import type { ImageLayout } from '@clip-gen/contracts';
import { encodeImage, resizeImage, type RgbImage } from '@clip-gen/image';
import { invalidField } from './invalid-field.ts';

/** How pictures leave the gateway. */
export interface PictureEncoding {
  readonly format: ImageLayout;
  /** 1–100, for JPEG and WebP; undefined: 90. */
  readonly quality?: number;
  /** What it is scaled to, by the command line's kernel; undefined: as decoded. */
  readonly size?: { readonly width: number; readonly height: number };
}

/** A picture's bytes. The same picture and encoding give the same bytes as `clip-gen generate`. */
export interface EncodedPicture {
  readonly width: number;
  readonly height: number;
  readonly data: Uint8Array;
}

/** Scales where asked for, then encodes. The result may share the picture's memory (RGB8 as decoded). */
export async function encodePicture(image: RgbImage, encoding: PictureEncoding): Promise<EncodedPicture> {
  const { format, quality, size } = encoding;
  const fits = size === undefined || (image.width === size.width && image.height === size.height);
  const scaled = fits ? image : await resizeImage(image, size, 'cubic');
  const { width, height } = scaled;
  if (format === 'rgb8') return { width, height, data: scaled.data };
  return { width, height, data: await encodeImage(scaled, { format, quality }) };
}

/**
 * A compression in percent as the encoder's quality, which has no 0.
 *
 * @param field its name in the request
 * @throws InvalidField when the format is lossless, or for a value outside [0, 100]
 */
export function compressionQuality(
  format: PictureEncoding['format'],
  compression: number | undefined,
  field: string,
): number | undefined {
  if (compression === undefined) return undefined;
  if (format !== 'jpeg' && format !== 'webp') throw invalidField(field, `absent with ${format}`, compression);
  if (compression > 100) throw invalidField(field, 'in [0, 100]', compression);
  return Math.max(1, compression);
}
