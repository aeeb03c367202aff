import sharp from 'sharp';
import { invalidArgument } from '@clip-gen/errors';
import { IMAGE_FORMATS, type ImageFormat } from './image-format.ts';
import { checkRgbImage, type RgbImage } from './rgb-image.ts';

/** How a picture is stored. */
export interface EncodeOptions {
  readonly format: ImageFormat;
  /** 1–100, for JPEG (90 by default) and WebP (90); PNG is lossless and ignores it. */
  readonly quality?: number;
}

/**
 * A picture as a file's bytes. The same pixels and options give the same bytes: no time, no metadata.
 *
 * @returns bytes that the caller owns
 * @throws invalid_argument for an unknown format, a quality outside 1–100 or a picture whose sizes and data disagree
 */
export async function encodeImage(image: RgbImage, options: EncodeOptions): Promise<Buffer> {
  checkRgbImage(image);
  const { format, quality = 90 } = options;
  if (!IMAGE_FORMATS.includes(format)) throw invalidArgument('format', `one of ${IMAGE_FORMATS.join(', ')}`, format);
  if (!Number.isInteger(quality) || quality < 1 || quality > 100) {
    throw invalidArgument('quality', 'an integer in [1, 100]', quality);
  }
  const pipeline = sharp(image.data, { raw: { width: image.width, height: image.height, channels: 3 } });
  switch (format) {
    case 'png':
      return pipeline.png({ compressionLevel: 6, palette: false }).toBuffer();
    case 'jpeg':
      // 4:4:4 keeps the edges of flat, saturated colours.
      return pipeline.jpeg({ quality, chromaSubsampling: '4:4:4' }).toBuffer();
    case 'webp':
      return pipeline.webp({ quality }).toBuffer();
  }
}
