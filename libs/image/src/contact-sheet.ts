import sharp from 'sharp';
import { invalidArgument } from '@clip-gen/errors';
import { DEFAULT_MAX_PIXELS } from './decode-image.ts';
import { checkRgbImage, rgbBytes, type RgbImage } from './rgb-image.ts';

/** How the pictures of a sheet are laid out. */
export interface ContactSheetOptions {
  /** Pictures in a row; the square root of their number, rounded up, by default. */
  readonly columns?: number;
  /** White pixels between and around the pictures; 2 by default. */
  readonly gap?: number;
  /** A line of text under each picture, in their order; a shorter list leaves the rest blank. */
  readonly labels?: readonly string[];
  /** Height of a label's line in pixels; 14 by default. */
  readonly labelHeight?: number;
}

/**
 * Several pictures on one white sheet, row by row. Cells have the size of the largest picture; smaller ones are centred.
 *
 * @param images at least one
 * @returns a new picture
 * @throws invalid_argument when there is no picture, an option is out of bounds or the sheet would pass 100 Mpixel
 */
export async function contactSheet(images: readonly RgbImage[], options: ContactSheetOptions = {}): Promise<RgbImage> {
  const { columns = Math.ceil(Math.sqrt(images.length)), gap = 2, labels, labelHeight = 14 } = options;
  if (images.length === 0) throw invalidArgument('images', 'at least one picture', 'none');
  images.forEach((image, i) => checkRgbImage(image, `images[${i}]`));
  if (!Number.isInteger(columns) || columns < 1) throw invalidArgument('columns', 'a positive integer', columns);
  if (!Number.isInteger(gap) || gap < 0) throw invalidArgument('gap', 'a non-negative integer', gap);
  if (!Number.isInteger(labelHeight) || labelHeight < 1) {
    throw invalidArgument('labelHeight', 'a positive integer', labelHeight);
  }
  const cellWidth = images.reduce((most, image) => Math.max(most, image.width), 0);
  const cellHeight = images.reduce((most, image) => Math.max(most, image.height), 0);
  const perRow = Math.min(columns, images.length);
  const rows = Math.ceil(images.length / perRow);
  const stepX = cellWidth + gap;
  const stepY = cellHeight + gap + (labels === undefined ? 0 : labelHeight);
  const width = gap + perRow * stepX;
  const height = gap + rows * stepY;
  if (width * height > DEFAULT_MAX_PIXELS) {
    throw invalidArgument('images', `few enough for a sheet of ${DEFAULT_MAX_PIXELS} pixels`, `${width}x${height}`);
  }
  const data = new Uint8Array(rgbBytes(width, height)).fill(255);
  images.forEach((image, i) => {
    const left = gap + (i % perRow) * stepX + ((cellWidth - image.width) >> 1);
    const top = gap + Math.floor(i / perRow) * stepY + ((cellHeight - image.height) >> 1);
    for (let y = 0; y < image.height; y++) {
      const row = image.data.subarray(rgbBytes(image.width, y), rgbBytes(image.width, y + 1));
      data.set(row, ((top + y) * width + left) * 3);
    }
  });
  const sheet = { width, height, data };
  if (labels === undefined) return sheet;
  const texts = labels.slice(0, images.length).map((label, i) => {
    const x = gap + (i % perRow) * stepX + cellWidth / 2;
    const y = gap + Math.floor(i / perRow) * stepY + cellHeight + labelHeight * 0.8;
    return `<text x="${x}" y="${y}">${escapeXml(shorten(label, cellWidth, labelHeight))}</text>`;
  });
  return overlay(sheet, `font-size="${labelHeight * 0.75}" font-family="sans-serif" text-anchor="middle"`, texts);
}

async function overlay(sheet: RgbImage, style: string, elements: readonly string[]): Promise<RgbImage> {
  const { width, height } = sheet;
  const svg = `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}"><g ${style}>${elements.join('')}</g></svg>`;
  const data = await sharp(sheet.data, { raw: { width, height, channels: 3 } })
    .composite([{ input: Buffer.from(svg) }])
    .removeAlpha()
    .raw()
    .toBuffer();
  return { width, height, data };
}

/** As much of a label as fits: a letter is about half as wide as its line is high. */
function shorten(label: string, width: number, lineHeight: number): string {
  const letters = [...label];
  const most = Math.max(1, Math.floor(width / (lineHeight * 0.4)));
  return letters.length <= most ? label : `${letters.slice(0, most - 1).join('')}…`;
}

/** Text for XML: markup escaped, characters that XML forbids left out. */
function escapeXml(text: string): string {
  return text
    .replace(/[^\t\n\r\u0020-\uD7FF\uE000-\uFFFD\u{10000}-\u{10FFFF}]/gu, '')
    .replace(/[<>&"']/g, (character) => `&#${character.charCodeAt(0)};`);
}
