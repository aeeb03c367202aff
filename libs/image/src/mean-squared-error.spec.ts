import { expect, it } from 'vitest';
import { meanSquaredError } from './mean-squared-error.ts';

const picture = (width: number, height: number, ...data: number[]) => ({ width, height, data: Uint8Array.from(data) });

it('is the mean of the squared differences', () => {
  const a = picture(2, 1, 0, 255, 3, 4, 5, 6);
  expect(meanSquaredError(a, a)).toBe(0);
  expect(meanSquaredError(a, picture(2, 1, 255, 0, 3, 4, 5, 7))).toBe((2 * 255 ** 2 + 1) / 6);
});

it('refuses pictures of two sizes', () => {
  const [wide, high] = [picture(2, 1, 1, 2, 3, 4, 5, 6), picture(1, 2, 1, 2, 3, 4, 5, 6)];
  expect(() => meanSquaredError(wide, high)).toThrow('b must be 2x1, as a; got "1x2"');
});
