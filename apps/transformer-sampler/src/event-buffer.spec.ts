import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { EventBuffer } from './event-buffer.ts';

const never = new AbortController().signal;

async function put<T>(buffer: EventBuffer<T>, event: T, weight: number, signal = never): Promise<void> {
  buffer.push(event, weight);
  await buffer.room(signal);
}

describe('EventBuffer', () => {
  it('hands over all events in order, then the end', async () => {
    const buffer = new EventBuffer<number>({ capacity: 3, stallMs: 10_000 });
    const made = (async () => {
      for (let i = 0; i < 20; i++) await put(buffer, i, 1);
      buffer.end();
    })();
    const read: number[] = [];
    for await (const event of buffer) read.push(event);
    await made;
    expect(read).toEqual(Array.from({ length: 20 }, (_, i) => i));
  });

  it('lets the maker run ahead by its capacity and no further', async () => {
    const buffer = new EventBuffer<number>({ capacity: 10, stallMs: 10_000 });
    let made = 0;
    const controller = new AbortController();
    const making = (async () => {
      for (;;) await put(buffer, made++, 4, controller.signal);
    })();
    await sleep(5);
    expect(made).toBe(3);
    const reader = buffer[Symbol.asyncIterator]();
    await reader.next();
    await sleep(5);
    expect(made).toBe(4);
    controller.abort();
    await expect(making).rejects.toMatchObject({ code: 'cancelled' });
    expect(buffer.stalledMs).toBeGreaterThan(0);
  });

  it('adds up the pauses and ends the work when they are too long', async () => {
    const buffer = new EventBuffer<number>({ capacity: 0, stallMs: 40 });
    const making = (async () => {
      for (let i = 0; ; i++) await put(buffer, i, 1);
    })();
    const ended = expect(making).rejects.toMatchObject({
      code: 'resource_exhausted',
      message: 'the answer must be read faster: the work has waited 40 ms in all for its reader',
    });
    const reader = buffer[Symbol.asyncIterator]();
    const start = performance.now();
    for (let i = 0; performance.now() - start < 60; i++) {
      expect(await reader.next()).toEqual({ value: i, done: false });
      await sleep(15); // each pause is shorter than what is allowed in all
      if (buffer.stalledMs >= 40) break;
    }
    await ended;
  });

  it('passes an error on after what was made', async () => {
    const buffer = new EventBuffer<string>({ capacity: 10, stallMs: 0 });
    buffer.push('one', 1);
    buffer.end({ error: new RangeError('broken') });
    const read: string[] = [];
    const reading = (async () => {
      for await (const event of buffer) read.push(event);
    })();
    await expect(reading).rejects.toThrow('broken');
    expect(read).toEqual(['one']);
  });

  it('wakes a reader who came first', async () => {
    const buffer = new EventBuffer<string>({ capacity: 1, stallMs: 0 });
    const next = buffer[Symbol.asyncIterator]().next();
    await sleep(2);
    buffer.push('late', 1);
    expect(await next).toEqual({ value: 'late', done: false });
  });
});
