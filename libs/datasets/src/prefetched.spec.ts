import { describe, expect, it } from 'vitest';
import { prefetched } from './prefetched.ts';

describe('prefetched', () => {
  it('keeps order and never runs further ahead than its depth', async () => {
    const started: number[] = [];
    const make = async (step: number): Promise<number> => {
      started.push(step);
      await new Promise((resolve) => setTimeout(resolve, step % 3));
      return step;
    };
    const results = prefetched(2, 12, 3, make);
    expect(started).toEqual([]);
    const got: number[] = [];
    for await (const step of results) {
      got.push(step);
      expect(started.length).toBeLessThanOrEqual(got.length + 3);
    }
    expect(got).toEqual([2, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
  });

  it('reports a failure in its turn', async () => {
    const results = prefetched(0, 5, 4, async (step) => {
      if (step === 2) throw new Error('two');
      return step;
    });
    expect((await results.next()).value).toBe(0);
    await new Promise((resolve) => setTimeout(resolve, 5));
    expect((await results.next()).value).toBe(1);
    await expect(results.next()).rejects.toThrow('two');
  });
});
