import { describe, expect, it } from 'vitest';
import { contactSheet } from './contact-sheet.ts';
import { encodeImage } from './encode-image.ts';
import { cropImage, resizeImage } from './resize-image.ts';

const flat = (side: number, level: number) => ({
  width: side,
  height: side,
  data: new Uint8Array(side * side * 3).fill(level),
});

describe('contactSheet', () => {
  it('places pictures row by row, smaller ones centred', async () => {
    const sheet = await contactSheet([flat(4, 10), flat(2, 20), flat(4, 30)], { columns: 2, gap: 1 });
    expect([sheet.width, sheet.height]).toEqual([11, 11]);
    const at = (x: number, y: number) => sheet.data[(y * 11 + x) * 3];
    expect([at(0, 0), at(1, 1), at(4, 4), at(5, 4)]).toEqual([255, 10, 10, 255]);
    expect([at(6, 1), at(7, 2), at(8, 3), at(9, 4)]).toEqual([255, 20, 20, 255]);
    expect([at(1, 6), at(4, 9), at(6, 6)]).toEqual([30, 30, 255]);
  });

  it('writes labels under the pictures, whatever they hold', async () => {
    const labels = ['<b>&"cat"\u0000', 'x'.repeat(500)];
    const sheet = await contactSheet([flat(40, 0), flat(40, 0)], { columns: 2, gap: 0, labels, labelHeight: 14 });
    expect([sheet.width, sheet.height]).toEqual([80, 54]);
    expect(sheet.data.subarray(0, 80 * 40 * 3).every((value) => value === 0)).toBe(true);
  });

  it('refuses empty and oversized sheets', async () => {
    await expect(contactSheet([])).rejects.toThrow('images must be at least one picture');
    await expect(contactSheet([flat(1, 0)], { columns: 0 })).rejects.toThrow('columns must be a positive integer');
    await expect(contactSheet([flat(1, 0)], { gap: 20_000 })).rejects.toThrow('100000000 pixels');
  });
});

describe('resize, crop and encode', () => {
  it('keeps a flat colour and the size asked for', async () => {
    for (const kernel of ['nearest', 'linear', 'cubic', 'lanczos3'] as const) {
      const image = await resizeImage(flat(9, 77), { width: 30, height: 4 }, kernel);
      expect([image.width, image.height]).toEqual([30, 4]);
      expect(image.data.every((value) => value === 77)).toBe(true);
    }
    await expect(resizeImage(flat(9, 1), { width: 0, height: 4 })).rejects.toThrow('width must be');
  });

  it('cuts out inside only', () => {
    const image = { width: 3, height: 2, data: Uint8Array.from({ length: 18 }, (_, i) => i) };
    expect([...cropImage(image, { left: 1, top: 1, width: 2, height: 1 }).data]).toEqual([12, 13, 14, 15, 16, 17]);
    expect(() => cropImage(image, { left: 2, top: 0, width: 2, height: 1 })).toThrow('area must be inside 3x2');
  });

  it('gives the same bytes for the same picture', async () => {
    const image = { width: 33, height: 21, data: Uint8Array.from({ length: 2079 }, (_, i) => (i * 31) % 253) };
    for (const format of ['png', 'jpeg', 'webp'] as const) {
      const [one, two] = await Promise.all([encodeImage(image, { format }), encodeImage(image, { format })]);
      expect(one.equals(two)).toBe(true);
    }
    await expect(encodeImage(image, { format: 'jpeg', quality: 0 })).rejects.toThrow('quality must be an integer');
  });
});
