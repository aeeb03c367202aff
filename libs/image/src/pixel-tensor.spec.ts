import { describe, expect, it } from 'vitest';
import { tensor } from '@clip-gen/tensor';
import { clipPixels } from './clip-pixels.ts';
import { CLIP_NORMALISATION, imagesToTensor, tensorToImages } from './pixel-tensor.ts';

const levels = { width: 16, height: 16, data: Uint8Array.from({ length: 768 }, (_, i) => (i * 37) % 256) };

describe('pixel tensors', () => {
  it('maps 0, 255 and layout to −1..1 planes', () => {
    const image = { width: 2, height: 1, data: Uint8Array.from([0, 255, 51, 255, 0, 204]) };
    const pixels = imagesToTensor([image]);
    expect(pixels.shape).toEqual([1, 3, 1, 2]);
    [-1, 1, 1, -1, -0.6, 0.6].forEach((value, i) => expect(pixels.data[i]).toBeCloseTo(value, 6));
  });

  it('comes back exactly, in both normalisations', () => {
    for (const normalisation of [undefined, CLIP_NORMALISATION]) {
      const back = tensorToImages(imagesToTensor([levels, levels], normalisation), normalisation);
      expect(back).toHaveLength(2);
      expect([...back[1]!.data]).toEqual([...levels.data]);
    }
  });

  it('clamps and rounds', () => {
    const data = Float32Array.from([-9, 9, 0.0039 * 2, NaN, Infinity, -Infinity, 0, 1 / 255, 1, -1, 0.5, -0.5]);
    const [image] = tensorToImages(tensor('float32', [1, 3, 2, 2], data));
    expect([...image!.data]).toEqual([0, 255, 255, 255, 0, 0, 128, 128, 191, 0, 128, 64]);
  });

  it('normalises as CLIP', async () => {
    const white = { width: 8, height: 8, data: new Uint8Array(192).fill(255) };
    const pixels = await clipPixels([white, { width: 20, height: 8, data: new Uint8Array(480).fill(255) }], 16);
    expect(pixels.shape).toEqual([2, 3, 16, 16]);
    expect(pixels.data[0]).toBeCloseTo((1 - 0.48145466) / 0.26862954, 5);
    expect(pixels.data[2 * 256]).toBeCloseTo((1 - 0.40821073) / 0.27577711, 5);
  });

  it('refuses what does not fit', async () => {
    expect(() => imagesToTensor([])).toThrow('images must be at least one picture');
    expect(() => imagesToTensor([levels, { width: 1, height: 1, data: new Uint8Array(3) }])).toThrow(
      'images[1] must be 16x16 as the first; got "1x1"',
    );
    expect(() => imagesToTensor([{ width: 2, height: 2, data: new Uint8Array(3) }])).toThrow('12 bytes for 2x2');
    expect(() => tensorToImages(tensor('float32', [1, 1, 1, 1], new Float32Array(1)))).toThrow('[B, 3, H, W]');
    await expect(clipPixels([levels], 0)).rejects.toThrow('size must be a positive integer; got 0');
  });
});
