import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import sharp from 'sharp';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { decodeImage } from './decode-image.ts';
import { encodeImage } from './encode-image.ts';
import type { RgbImage } from './rgb-image.ts';

/** Left half red, right half blue, one green pixel at the top left. */
function sample(width = 6, height = 4): RgbImage {
  const data = new Uint8Array(width * height * 3);
  for (let i = 0; i < width * height; i++) data[i * 3 + (i % width < width / 2 ? 0 : 2)] = 255;
  data.set([0, 255, 0]);
  return { width, height, data };
}

const raw = (image: RgbImage) => sharp(image.data, { raw: { width: image.width, height: image.height, channels: 3 } });

const pixel = (image: RgbImage, x: number, y: number) => [
  ...image.data.subarray((y * image.width + x) * 3, (y * image.width + x) * 3 + 3),
];

let folder = '';
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'clip-gen-image-'));
});
afterAll(() => rm(folder, { recursive: true }));

describe('decodeImage', () => {
  it('gives back PNG pixels exactly, from bytes and from a file', async () => {
    const png = await encodeImage(sample(), { format: 'png' });
    const path = join(folder, 'a.jpg'); // the bytes count, not the name
    await writeFile(path, png);
    for (const source of [png, path]) {
      const image = await decodeImage(source);
      expect([image.width, image.height]).toEqual([6, 4]);
      expect(Buffer.from(image.data).equals(Buffer.from(sample().data))).toBe(true);
    }
  });

  it.each(['jpeg', 'webp'] as const)('reads %s', async (format) => {
    const flat = { width: 16, height: 16, data: new Uint8Array(16 * 16 * 3).fill(200) };
    const image = await decodeImage(await encodeImage(flat, { format, quality: 95 }));
    for (const value of image.data) expect(Math.abs(value - 200)).toBeLessThanOrEqual(2);
  });

  it('lays transparency over white', async () => {
    const rgba = Uint8Array.from([255, 0, 0, 0, 255, 0, 0, 255, 0, 0, 0, 128]);
    const png = await sharp(rgba, { raw: { width: 3, height: 1, channels: 4 } })
      .png()
      .toBuffer();
    const image = await decodeImage(png);
    expect(pixel(image, 0, 0)).toEqual([255, 255, 255]);
    expect(pixel(image, 1, 0)).toEqual([255, 0, 0]);
    expect(Math.abs(pixel(image, 2, 0)[0]! - 127)).toBeLessThanOrEqual(1);
  });

  it('applies EXIF orientation', async () => {
    const rotated = await raw(sample()).withMetadata({ orientation: 6 }).png().toBuffer();
    const image = await decodeImage(rotated);
    expect([image.width, image.height]).toEqual([4, 6]);
    expect(pixel(image, 3, 0)).toEqual([0, 255, 0]); // 6: turned a quarter clockwise
    expect(pixel(image, 0, 0)).toEqual([255, 0, 0]);
    const small = await decodeImage(rotated, { resizeShortSide: 2 });
    expect([small.width, small.height]).toEqual([2, 3]);
  });

  it('turns grey, 16-bit, palette and CMYK pictures into RGB', async () => {
    const grey = await sharp(Uint8Array.from([0, 77, 255]), { raw: { width: 3, height: 1, channels: 1 } })
      .toColourspace('b-w')
      .png()
      .toBuffer();
    expect([...(await decodeImage(grey)).data]).toEqual([0, 0, 0, 77, 77, 77, 255, 255, 255]);
    const deep = await raw(sample()).toColourspace('rgb16').png().toBuffer();
    expect((await sharp(deep).metadata()).depth).toBe('ushort');
    expect(pixel(await decodeImage(deep), 5, 0)).toEqual([0, 0, 255]);
    const palette = await raw(sample()).png({ palette: true }).toBuffer();
    expect(pixel(await decodeImage(palette), 0, 0)).toEqual([0, 255, 0]);
    const white = { width: 8, height: 8, data: new Uint8Array(192).fill(255) };
    const cmyk = await raw(white).toColourspace('cmyk').jpeg().toBuffer();
    expect((await sharp(cmyk).metadata()).channels).toBe(4);
    const image = await decodeImage(cmyk);
    expect(image.data.length).toBe(192);
    for (const value of image.data) expect(value).toBeGreaterThan(250);
  });

  it('scales the shorter side and keeps the middle of a long picture', async () => {
    const png = await encodeImage(sample(60, 40), { format: 'png' });
    const up = await decodeImage(png, { resizeShortSide: 64 });
    expect([up.width, up.height]).toEqual([96, 64]);
    const square = await decodeImage(png, { resizeShortSide: 8, maxAspectRatio: 1 });
    expect([square.width, square.height]).toEqual([8, 8]);
    expect(pixel(square, 0, 4)).toEqual([255, 0, 0]);
    expect(pixel(square, 7, 4)).toEqual([0, 0, 255]);
  });

  it('refuses what is too large before decoding', async () => {
    const png = await encodeImage(sample(60, 40), { format: 'png' });
    await expect(decodeImage(png, { name: 'big.png', maxPixels: 2399 })).rejects.toMatchObject({
      code: 'resource_exhausted',
      message: 'image big.png must have at most 2399 pixels; got 60x40',
    });
    await expect(decodeImage(png, { maxBytes: 10 })).rejects.toMatchObject({ code: 'resource_exhausted' });
    await expect(decodeImage(png, { resizeShortSide: 5000, maxPixels: 1e6 })).rejects.toMatchObject({
      code: 'resource_exhausted',
    });
    // A header of 50,000 × 50,000 pixels in a file of a few bytes.
    const bomb = Buffer.from(png);
    bomb.writeUInt32BE(50_000, 16);
    bomb.writeUInt32BE(50_000, 20);
    await expect(decodeImage(bomb)).rejects.toMatchObject({ name: 'ClipGenError' });
  });

  it('names a picture that is missing, broken, cut off or of another format', async () => {
    const data = new Uint8Array(64 * 64 * 3).map((_, i) => (i * 7919) % 251);
    for (const format of ['png', 'jpeg', 'webp'] as const) {
      const whole = await encodeImage({ width: 64, height: 64, data }, { format });
      const path = join(folder, `cut.${format}`);
      await writeFile(path, whole.subarray(0, whole.length >> 1));
      await expect(decodeImage(path)).rejects.toMatchObject({
        code: 'data_corrupt',
        message: expect.stringContaining(path),
      });
    }
    const missing = join(folder, 'missing.png');
    await expect(decodeImage(missing)).rejects.toMatchObject({
      code: 'not_found',
      message: expect.stringContaining(missing),
    });
    await expect(decodeImage(folder)).rejects.toMatchObject({ message: expect.stringContaining(folder) });
    await expect(decodeImage(new Uint8Array(0), { name: 'x.png' })).rejects.toMatchObject({ code: 'data_corrupt' });
    const svg = Buffer.from('<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>');
    await expect(decodeImage(svg, { name: 'x.svg' })).rejects.toMatchObject({
      code: 'data_corrupt',
      message: expect.stringContaining('x.svg must be PNG, JPEG or WebP'),
    });
    await expect(decodeImage(svg, { resizeShortSide: 0 })).rejects.toMatchObject({ code: 'invalid_argument' });
  });
});
