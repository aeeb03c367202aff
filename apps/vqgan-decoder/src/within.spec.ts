import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { within } from './within.ts';

const never = new AbortController().signal;

async function collect<T>(source: AsyncIterable<T>): Promise<T[]> {
  const got: T[] = [];
  for await (const value of source) got.push(value);
  return got;
}

describe('within', () => {
  it('passes on what comes in time', async () => {
    const source = (async function* () {
      yield 1;
      await sleep(5);
      yield 2;
    })();
    expect(await collect(within(source, 1000, never))).toEqual([1, 2]);
  });

  it('gives up when nothing comes, and when the caller goes, however long the source sleeps', async () => {
    const endless = { [Symbol.asyncIterator]: () => ({ next: () => new Promise<never>(() => undefined) }) };
    await expect(collect(within(endless, 10, never))).rejects.toMatchObject({
      code: 'deadline_exceeded',
      message: 'the next message must come within 10 ms; none did',
    });
    const controller = new AbortController();
    setTimeout(() => controller.abort(), 10);
    const start = performance.now();
    await expect(collect(within(endless, 10_000, controller.signal))).rejects.toMatchObject({ code: 'cancelled' });
    expect(performance.now() - start).toBeLessThan(1000);
    await expect(collect(within(endless, 10_000, AbortSignal.abort()))).rejects.toMatchObject({ code: 'cancelled' });
  });

  it('closes the source when its reader leaves', async () => {
    let closed = false;
    const source = (async function* () {
      try {
        for (let i = 0; ; i++) yield i;
      } finally {
        closed = true;
      }
    })();
    for await (const value of within(source, 1000, never)) if (value === 3) break;
    expect(closed).toBe(true);
  });
});
