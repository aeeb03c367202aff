import type { RgbImage } from '@clip-gen/image';
import type { Config } from '../config.ts';

/** Bytes of base64 in one escape sequence of kitty's protocol. */
const KITTY_CHUNK = 4096;

/**
 * A picture as text that the terminal shows: iTerm2's inline images (also WezTerm) or kitty's graphics protocol.
 *
 * @param png the encoded picture
 */
export function inlinePicture(png: Uint8Array, protocol: NonNullable<Config['pictureProtocol']>): string {
  const data = Buffer.from(png).toString('base64');
  if (protocol === 'iterm') {
    return `\x1b]1337;File=inline=1;size=${png.byteLength};preserveAspectRatio=1:${data}\x07\n`;
  }
  let text = '';
  for (let from = 0; from < data.length; from += KITTY_CHUNK) {
    const more = from + KITTY_CHUNK < data.length ? 1 : 0;
    const keys = from === 0 ? `f=100,a=T,m=${more}` : `m=${more}`;
    text += `\x1b_G${keys};${data.slice(from, from + KITTY_CHUNK)}\x1b\\`;
  }
  return `${text}\n`;
}

/** A picture as coloured half blocks, two pixels a character: for terminals with 24-bit colour. Keep it small. */
export function halfBlocks(image: RgbImage): string {
  const { width, height, data } = image;
  const colour = (kind: 38 | 48, x: number, y: number): string => {
    const at = (y * width + x) * 3;
    return `\x1b[${kind};2;${data[at]};${data[at + 1]};${data[at + 2]}m`;
  };
  let text = '';
  for (let y = 0; y < height; y += 2) {
    for (let x = 0; x < width; x++) {
      text += colour(38, x, y) + (y + 1 < height ? colour(48, x, y + 1) : '\x1b[49m') + '▀';
    }
    text += '\x1b[0m\n';
  }
  return text;
}
