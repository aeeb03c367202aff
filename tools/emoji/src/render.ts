import sharp from 'sharp';
import type { Icon } from './icon-sets.ts';

/** Clip edges are not smoothed by the SVG renderer: draw this many times larger, then shrink. */
const OVERSAMPLING = 4;

/** A pixel whose channels are all at least this is white to the eye. */
const WHITE = 232;

/** A drawn icon. */
export interface Picture {
  /** PNG file, 8-bit RGB on white, without metadata. */
  readonly png: Buffer;
  /** The same picture before it was laid on white: RGBA bytes, row by row, `size * size * 4`. */
  readonly rgba: Uint8Array;
  /** Nothing to see: a white drawing on white. */
  readonly blank: boolean;
}

/**
 * Draw an icon at `size` × `size` pixels; one that is not square is centred.
 *
 * The same icon, size and sharp version give the same bytes.
 *
 * @throws when the SVG cannot be parsed; the caller names the icon
 */
export async function render(icon: Icon, size: number): Promise<Picture> {
  const large = size * OVERSAMPLING;
  const svg =
    `<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" ` +
    `width="${large}" height="${large}" viewBox="${icon.viewBox.join(' ')}">${icon.body}</svg>`;
  // Two steps, because sharp answers a resize of an SVG by drawing it smaller.
  const drawn = await sharp(Buffer.from(svg)).ensureAlpha().toColourspace('srgb').raw().toBuffer();
  const rgba = await sharp(drawn, { raw: { width: large, height: large, channels: 4 } })
    .resize(size, size, { kernel: 'lanczos3' })
    .raw()
    .toBuffer();
  const rgb = await sharp(rgba, { raw: { width: size, height: size, channels: 4 } })
    .flatten({ background: '#ffffff' })
    .removeAlpha()
    .raw()
    .toBuffer();
  const png = await sharp(rgb, { raw: { width: size, height: size, channels: 3 } })
    .png({ compressionLevel: 9, adaptiveFiltering: true })
    .toBuffer();
  return { png, rgba, blank: isBlank(rgb) };
}

function isBlank(rgb: Uint8Array): boolean {
  let drawn = 0;
  for (let at = 0; at < rgb.length; at += 3) {
    if (Math.min(rgb[at] ?? 0, rgb[at + 1] ?? 0, rgb[at + 2] ?? 0) < WHITE) drawn += 1;
  }
  return drawn * 200 < rgb.length / 3;
}
