import { expect, it } from 'vitest';
import { SmoothedMetrics } from './smoothed-metrics.ts';

it('starts with the first value, follows slowly and leaves out what is not finite', () => {
  const smoothed = new SmoothedMetrics();
  smoothed.add({ loss: 1 });
  smoothed.add({ loss: NaN, skipped: 1 });
  smoothed.add({ loss: Infinity });
  expect(smoothed.values).toEqual({ loss: 1, skipped: 1 });
  smoothed.add({ loss: 2, psnr: 20 });
  expect(smoothed.values).toEqual({ loss: 1.05, skipped: 1, psnr: 20 });
});
