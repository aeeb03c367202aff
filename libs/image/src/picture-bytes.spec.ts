import { describe, expect, it } from 'vitest';
import { encodeImage } from './encode-image.ts';
import { fitSquare } from './fit-square.ts';
import { checkPictureBytes, readPictureBytes, writePictureBytes, type PictureBytes } from './picture-bytes.ts';

const LIMITS = { maxBytes: 4096, maxPixels: 600, maxSide: 64 };
const image = { width: 20, height: 10, data: Uint8Array.from({ length: 600 }, (_, i) => (i * 37) % 251) };

describe('pictures that are sent', () => {
  it.each(['rgb8', 'png'] as const)('come back as they were (%s)', async (layout) => {
    const sent = await writePictureBytes(image, layout);
    expect(sent).toMatchObject({ layout, width: 20, height: 10 });
    const got = await readPictureBytes(sent, 'image', LIMITS);
    expect({ ...got, data: [...got.data] }).toEqual({ ...image, data: [...image.data] });
    if (layout === 'png') await readPictureBytes({ ...sent, width: 0, height: 0 }, 'image', LIMITS);
  });

  it.each(['jpeg', 'webp'] as const)('are files (%s)', async (layout) => {
    const { data } = await writePictureBytes(image, layout, 80);
    expect(data).toEqual(await encodeImage(image, { format: layout, quality: 80 }));
  });

  const rgb8: PictureBytes = { layout: 'rgb8', ...image };
  it.each([
    [{ ...rgb8, data: new Uint8Array() }, 'images[0].data must be the bytes of a picture; got "none"'],
    [{ ...rgb8, data: new Uint8Array(4097) }, 'images[0].data must be at most 4096 bytes; got 4097'],
    [{ ...rgb8, data: new Uint8Array(599) }, 'images[0].data must be 600 bytes for 20x10; got 599'],
    [{ ...rgb8, width: 0 }, 'images[0].width must be in [1, 64]; got 0'],
    [{ ...rgb8, height: 65 }, 'images[0].height must be in [1, 64]; got 65'],
    [{ ...rgb8, width: 60, height: 60 }, 'images[0] must be of at most 600 pixels; got "60x60"'],
    [{ ...rgb8, layout: 'png' as const }, 'images[0].data must be a png file; got "bytes of another kind"'],
  ])('are refused before any work (%#)', (picture, message) => {
    expect(() => checkPictureBytes(picture, 'images[0]', LIMITS)).toThrow(message);
  });

  it('are refused when the file is not what it is said to be', async () => {
    const png = await writePictureBytes(image, 'png');
    const large = await writePictureBytes({ width: 30, height: 30, data: new Uint8Array(2700) }, 'png');
    const long = await writePictureBytes({ width: 65, height: 1, data: new Uint8Array(195) }, 'png');
    const cases: readonly (readonly [PictureBytes, string])[] = [
      [{ ...png, layout: 'webp' }, 'image.data must be a webp file; got "png"'],
      [{ ...png, width: 21 }, 'image.width and height must be those of the file, 20x10; got "21x10"'],
      [{ ...png, data: png.data.subarray(0, 60) }, 'image image cannot be decoded'],
      [{ ...large, width: 0, height: 0 }, 'image image must have at most 600 pixels; got 30x30'],
      [{ ...long, width: 0, height: 0 }, 'image must be of at most 64 pixels a side; got "65x1"'],
    ];
    for (const [picture, message] of cases) {
      const refused = expect(readPictureBytes(picture, 'image', LIMITS)).rejects;
      await refused.toMatchObject({ code: 'invalid_argument', message: expect.stringContaining(message) });
    }
  });
});

describe('fitSquare', () => {
  it('takes the middle of a picture, however long', async () => {
    const strip = { width: 3000, height: 2, data: new Uint8Array(18_000).fill(10) };
    strip.data.fill(200, 1490 * 3, 1510 * 3).fill(200, 4490 * 3, 4510 * 3);
    const square = await fitSquare(strip, 4);
    expect(square).toMatchObject({ width: 4, height: 4 });
    expect(new Set(square.data)).toEqual(new Set([200]));
    expect(await fitSquare(square, 4)).toBe(square);
    await expect(fitSquare(square, 0)).rejects.toThrow('side must be a positive integer; got 0');
  });
});
