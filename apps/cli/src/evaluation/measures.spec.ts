import { expect, it } from 'vitest';
import { draw } from './emoji-data.ts';
import { psnr } from './reconstruction.ts';
import { rankOneHits } from './retrieval.ts';
import { TokenUsage } from './token-usage.ts';

it('PSNR is 10·log10(255² / mse) over all bytes', () => {
  const grey = (level: number) => ({ width: 2, height: 1, data: new Uint8Array(6).fill(level) });
  expect(psnr(grey(10), grey(11))).toBeCloseTo(48.1308, 4);
  expect(psnr(grey(0), grey(255))).toBeCloseTo(0, 12);
  expect(psnr(grey(9), grey(9))).toBe(Infinity);
  const half = { width: 2, height: 1, data: Uint8Array.of(10, 10, 10, 13, 13, 13) };
  expect(psnr(grey(10), half)).toBeCloseTo(10 * Math.log10(65025 / 4.5), 12);
});

it('token perplexity is that of the frequencies', () => {
  const usage = new TokenUsage(8);
  usage.add(Int32Array.of(0, 1, 2, 3));
  expect([usage.used, usage.perplexity]).toEqual([4, expect.closeTo(4, 12)]);
  usage.add(Int32Array.of(0, 0, 0, 0));
  expect(usage.used).toBe(4);
  const entropy = -(5 / 8) * Math.log(5 / 8) - 3 * (1 / 8) * Math.log(1 / 8);
  expect(usage.perplexity).toBeCloseTo(Math.exp(entropy), 12);
});

it('a hit is nearest to its own target alone', () => {
  const [x, y] = [Float32Array.of(1, 0), Float32Array.of(0, 1)];
  expect(rankOneHits([x, y], [x, y])).toBe(2);
  expect(rankOneHits([x, y], [y, x])).toBe(0);
  expect(rankOneHits([x, x], [x, x])).toBe(0); // ties are no hits
  expect(rankOneHits([Float32Array.of(0.8, 0.6), y], [x, y])).toBe(2);
});

it('draws are decided by the seed', () => {
  const items = Array.from({ length: 50 }, (_, i) => i);
  expect(draw(items, 10, 3)).toEqual(draw(items, 10, 3));
  expect(draw(items, 10, 3)).not.toEqual(draw(items, 10, 4));
  expect(new Set(draw(items, 99, 1)).size).toBe(50);
  expect(items[7]).toBe(7); // not changed
});
