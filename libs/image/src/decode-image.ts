import sharp from 'sharp';
import { ClipGenError, invalidArgument } from '@clip-gen/errors';
import { sniffImageFormat } from './image-format.ts';
import { DEFAULT_MAX_BYTES, readImageSource } from './image-source.ts';
import type { ResizeKernel } from './resize-image.ts';
import { rgbBytes, type RgbImage } from './rgb-image.ts';

/** Most pixels that are decoded unless told otherwise: 100 million, 300 MB of RGB. */
export const DEFAULT_MAX_PIXELS = 100_000_000;

/** How large a picture becomes, and how large a file may be. */
export interface DecodeOptions {
  /** What errors call the picture; the path when left out. */
  readonly name?: string;
  /** Scale, up or down, so that the shorter side has this many pixels; the shape of the picture is kept. */
  readonly resizeShortSide?: number;
  /** How pixels are weighed when scaling; `cubic` by default. */
  readonly kernel?: ResizeKernel;
  /** Longer over shorter side at most; the middle of a longer picture is kept. Unlimited by default. */
  readonly maxAspectRatio?: number;
  /** Most pixels of the file, and of the result; 100 million by default. */
  readonly maxPixels?: number;
  /** Most bytes of the file; 256 MiB by default. */
  readonly maxBytes?: number;
}

/**
 * Decodes PNG, JPEG or WebP (the first frame of an animation) to 8-bit sRGB: EXIF orientation applied, colour profiles
 * and any number of channels converted, transparency laid over white.
 *
 * @param source a path, or the encoded bytes (borrowed until the promise settles)
 * @returns a picture that the caller owns
 * @throws not_found; data_corrupt when the bytes are not a whole picture; resource_exhausted past `maxPixels` or
 * `maxBytes`, before decoding; the message names the picture
 */
export async function decodeImage(source: string | Uint8Array, options: DecodeOptions = {}): Promise<RgbImage> {
  const { resizeShortSide, maxAspectRatio = Infinity, maxPixels = DEFAULT_MAX_PIXELS } = options;
  if (resizeShortSide !== undefined && !(Number.isInteger(resizeShortSide) && resizeShortSide >= 1)) {
    throw invalidArgument('resizeShortSide', 'a positive integer', resizeShortSide);
  }
  if (!(maxAspectRatio >= 1)) throw invalidArgument('maxAspectRatio', 'at least 1', maxAspectRatio);
  const { name, bytes } = await readImageSource(source, options.maxBytes ?? DEFAULT_MAX_BYTES, options.name);
  if (sniffImageFormat(bytes) === undefined) {
    throw new ClipGenError('data_corrupt', `image ${name} must be PNG, JPEG or WebP; its first bytes are none of them`);
  }
  try {
    const pipeline = sharp(bytes, { failOn: 'error', limitInputPixels: false });
    const { autoOrient } = await pipeline.metadata();
    let { width, height } = autoOrient;
    checkPixels(name, width, height, maxPixels);
    pipeline.autoOrient();
    const longest = Math.max(1, Math.floor(Math.min(width, height) * maxAspectRatio));
    if (Math.max(width, height) > longest) {
      const left = Math.max(0, (width - longest) >> 1);
      const top = Math.max(0, (height - longest) >> 1);
      width = Math.min(width, longest);
      height = Math.min(height, longest);
      pipeline.extract({ left, top, width, height });
    }
    if (resizeShortSide !== undefined && Math.min(width, height) !== resizeShortSide) {
      const scale = resizeShortSide / Math.min(width, height);
      const scaled = { width: Math.round(width * scale), height: Math.round(height * scale) };
      checkPixels(`${name} scaled`, scaled.width, scaled.height, maxPixels);
      pipeline.resize({ ...scaled, fit: 'fill', kernel: options.kernel ?? 'cubic', fastShrinkOnLoad: false });
    }
    const { data, info } = await pipeline
      .flatten({ background: '#ffffff' })
      .toColourspace('srgb')
      .raw({ depth: 'uchar' })
      .toBuffer({ resolveWithObject: true });
    return { width: info.width, height: info.height, data: toRgb(data, info.width, info.height, info.channels) };
  } catch (cause) {
    if (cause instanceof ClipGenError) throw cause;
    const reason = cause instanceof Error ? (cause.message.split('\n')[0] ?? '') : String(cause);
    throw new ClipGenError('data_corrupt', `image ${name} cannot be decoded: ${reason}`, { cause });
  }
}

function checkPixels(name: string, width: number, height: number, maxPixels: number): void {
  if (width * height > maxPixels) {
    throw new ClipGenError(
      'resource_exhausted',
      `image ${name} must have at most ${maxPixels} pixels; got ${width}x${height}`,
    );
  }
}

/** Drops a left-over fourth channel, or spreads grey over three. */
function toRgb(data: Uint8Array, width: number, height: number, channels: number): Uint8Array {
  if (channels === 3) return data;
  const rgb = new Uint8Array(rgbBytes(width, height));
  const green = channels >= 3 ? 1 : 0;
  const blue = channels >= 3 ? 2 : 0;
  for (let from = 0, to = 0; to < rgb.length; from += channels, to += 3) {
    rgb[to] = data[from]!;
    rgb[to + 1] = data[from + green]!;
    rgb[to + 2] = data[from + blue]!;
  }
  return rgb;
}
