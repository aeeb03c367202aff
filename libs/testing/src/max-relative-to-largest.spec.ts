import { expect, it } from 'vitest';
import { maxRelativeToLargest } from './max-relative-to-largest.ts';

it('divides the largest difference by the largest reference', () => {
  expect(maxRelativeToLargest([1, 2, -7.5], [1, 2.25, -8])).toBe(0.0625);
  expect(maxRelativeToLargest(Float32Array.of(3), Float64Array.of(4))).toBe(0.25);
});

it('knows zeros, NaN and lengths', () => {
  expect(maxRelativeToLargest([0, 0], [0, 0])).toBe(0);
  expect(maxRelativeToLargest([0, 1], [0, 0])).toBe(Infinity);
  expect(maxRelativeToLargest([NaN, 1], [1, 1])).toBeNaN();
  expect(maxRelativeToLargest([1, 1], [1, NaN])).toBeNaN();
  expect(() => maxRelativeToLargest([1], [1, 2])).toThrow('a must have as many elements as b, 2; got 1');
});
