import type { GptConfig } from '@clip-gen/gpt';
import { describe, expect, it } from 'vitest';
import { cacheBytes, GrowingCache } from './token-sampler-cache.ts';

const CONFIG: GptConfig = {
  ...{ model: 'gpt', tokens: 100, vocabularySize: 24, conditionSize: 16, layers: 2, heads: 2 },
  width: 16,
};
const ROWS = 3;
const value = (tensor: number, head: number, position: number, i: number): number =>
  ((tensor * 31 + head * 17 + position * 5 + i) % 251) - 125;

describe.each(['float32', 'int8'] as const)('a cache of %s that grows', (type) => {
  it('keeps what it holds, position by position', async () => {
    const cache = new GrowingCache(CONFIG, ROWS, type);
    const rooms: number[] = [];
    for (let position = 0; position < CONFIG.tokens; position++) {
      const before = cache.tensors;
      const grown = await cache.reach(position + 1);
      expect(cache.tensors !== before).toBe(grown);
      if (grown) rooms.push(cache.room);
      expect([...cache.tensors.keys()]).toEqual(['keys.0', 'values.0', 'keys.1', 'values.1']);
      for (const [t, { data, shape, dtype }] of [...cache.tensors.values()].entries()) {
        expect({ shape, dtype }).toEqual({ shape: [ROWS, 2, cache.room, 8], dtype: type });
        for (let head = 0; head < ROWS * 2; head++) {
          const at = (head * cache.room + position) * 8;
          for (let i = 0; i < 8; i++) data[at + i] = value(t, head, position, i);
        }
      }
      if (!grown && position < CONFIG.tokens - 1) continue;
      for (const [t, { data }] of [...cache.tensors.values()].entries()) {
        const held = Array.from({ length: ROWS * 2 * (position + 1) * 8 }, (_, n) => {
          const [i, place] = [n % 8, Math.floor(n / 8) % (position + 1)];
          const head = Math.floor(n / 8 / (position + 1));
          return data[(head * cache.room + place) * 8 + i] === value(t, head, place, i);
        });
        expect(held).not.toContain(false);
      }
    }
    expect(rooms).toEqual([32, 64, 100]);
  });

  it('has room for a jump, and for a grid shorter than its first room', async () => {
    const cache = new GrowingCache(CONFIG, ROWS, type);
    expect(await cache.reach(65)).toBe(true);
    expect(cache.room).toBe(100);
    expect(await cache.reach(2)).toBe(false);
    const short = new GrowingCache({ ...CONFIG, tokens: 4 }, 1, type);
    await short.reach(1);
    expect(short.room).toBe(4);
  });
});

it('takes a quarter of the bytes in 8 bits', () => {
  expect(cacheBytes(CONFIG, 'float32')).toBe(4 * 2 * 2 * 100 * 16);
  expect(cacheBytes(CONFIG, 'int8')).toBe(2 * 2 * 100 * 16);
});
