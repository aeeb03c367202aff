import { describe, expect, it } from 'vitest';
import { RandomStream } from '@clip-gen/rng';
import { centrePlan, cropPixels, drawPlan, type CropPlan } from './crop-pixels.ts';

/** Red = 10·x, green = 10·y, blue = 200. */
const image = { width: 8, height: 6, data: new Uint8Array(8 * 6 * 3) };
for (let i = 0; i < 48; i++) image.data.set([10 * (i % 8), 10 * Math.floor(i / 8), 200], i * 3);

const plain = { flip: false, brightness: 1, contrast: 1, saturation: 1 };
const level = (value: number): number => Math.round((value + 1) * 127.5);

function crop(size: number, plan: CropPlan): { red: number[]; green: number[]; blue: number[] } {
  const out = new Float32Array(3 * size * size + 2).fill(7);
  cropPixels(image, size, plan, out, 1);
  expect([out[0], out[out.length - 1]]).toEqual([7, 7]);
  const plane = (c: number): number[] => [...out.subarray(1 + c * size * size, 1 + (c + 1) * size * size)].map(level);
  return { red: plane(0), green: plane(1), blue: plane(2) };
}

describe('cropPixels', () => {
  it('cuts, mirrors and fills with white outside', () => {
    expect(crop(2, { ...plain, left: 3, top: 1 })).toEqual({
      red: [30, 40, 30, 40],
      green: [10, 10, 20, 20],
      blue: [200, 200, 200, 200],
    });
    expect(crop(2, { ...plain, left: 3, top: 1, flip: true }).red).toEqual([40, 30, 40, 30]);
    expect(crop(2, { ...plain, left: -1, top: -1 })).toEqual({
      red: [255, 255, 255, 0],
      green: [255, 255, 255, 0],
      blue: [255, 255, 255, 200],
    });
    expect(crop(2, { ...plain, left: -1, top: 5, flip: true }).red).toEqual([0, 255, 255, 255]);
    expect(crop(2, { ...plain, left: 7, top: 5 }).red).toEqual([70, 255, 255, 255]);
    expect(crop(2, { ...plain, left: 50, top: -50 }).blue).toEqual([255, 255, 255, 255]);
  });

  it('takes the middle', () => {
    expect(centrePlan(8, 6, 4)).toMatchObject({ left: 2, top: 1 });
    expect(centrePlan(4, 9, 4)).toMatchObject({ left: 0, top: 2 });
  });

  it('recolours as defined', () => {
    const brighter = crop(2, { ...plain, left: 3, top: 1, brightness: 1.2 });
    expect([brighter.red, brighter.blue]).toEqual([
      [36, 48, 36, 48],
      [240, 240, 240, 240],
    ]);
    const clamped = crop(2, { ...plain, left: 3, top: 1, brightness: 2 });
    expect(clamped.blue).toEqual([255, 255, 255, 255]);
    const grey = crop(1, { ...plain, left: 1, top: 1, saturation: 0 });
    const luma = Math.round(0.299 * 10 + 0.587 * 10 + 0.114 * 200);
    expect([grey.red[0], grey.green[0], grey.blue[0]]).toEqual([luma, luma, luma]);
    const flat = crop(2, { ...plain, left: 3, top: 1, contrast: 0 });
    expect(new Set([...flat.red, ...flat.green, ...flat.blue]).size).toBe(1);
    expect(flat.red[0]).toBe(Math.round(0.299 * 35 + 0.587 * 15 + 0.114 * 200));
  });

  it('draws every place a crop can have, and only those', () => {
    const seen = new Set<string>();
    let flips = 0;
    for (let i = 0; i < 2000; i++) {
      const plan = drawPlan(8, 6, 6, { flip: true, shiftPixels: 1, contrast: 0.5 }, new RandomStream(1, 0, 0, i * 16));
      seen.add(`${plan.left},${plan.top}`);
      if (plan.flip) flips++;
      expect(plan.contrast).toBeGreaterThanOrEqual(0.5);
      expect(plan.contrast).toBeLessThan(1.5);
      expect(plan.brightness).toBe(1);
    }
    expect(seen.size).toBe(5 * 3);
    for (const place of seen) expect(place).toMatch(/^(-1|[0-3]),(-1|0|1)$/);
    expect(Math.abs(flips - 1000)).toBeLessThan(120);
  });
});
