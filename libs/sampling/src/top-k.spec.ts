import { RandomStream } from '@clip-gen/rng';
import { describe, expect, it } from 'vitest';
import { MAX_MEMBERS, RowMemory } from './row-memory.ts';
import { TopKSelector } from './top-k.ts';

/** The places of the k largest, by sorting; among equal values the lowest places win. */
function bySorting(row: Float32Array, k: number): number[] {
  const places = Array.from(row.keys()).sort((a, b) => row[b]! - row[a]! || a - b);
  return places.slice(0, k).sort((a, b) => a - b);
}

const ROWS: Record<string, (random: RandomStream, i: number) => number> = {
  normal: (random) => random.normal(),
  'of a range that float32 cannot hold': (random) => (random.uniform() - 0.5) * 6.8e38,
  'nearly equal': (random) => 1 + random.integer(3) * 2 ** -23,
  'all but one equal': (_, i) => (i === 3 ? 1e30 : -1e-30),
  'of subnormals and zeros': (random) => (random.integer(9) - 4) * 1e-45,
};

describe.each(Object.keys(ROWS))('the k largest of a row: %s', (kind) => {
  it.each([1, 5, 64, 999, 4003])('are those of a sort, and of radix selection: %i', (size) => {
    const random = new RandomStream(3, size);
    const row = Float32Array.from({ length: size }, (_, i) => ROWS[kind]!(random, i));
    const memory = new RowMemory(size);
    const selector = new TopKSelector(memory);
    memory.load(row);
    expect(memory.collect(-Infinity)).toBe(size);
    expect([...memory.indices.subarray(0, size)]).toEqual([...row.keys()]);
    expect(memory.largest).toBe(row.reduce((most, value) => Math.max(most, value)) + 0);
    for (const k of new Set([1, Math.ceil(size / 7), Math.ceil(size / 2), size - 1, size])) {
      if (k < 1) continue;
      const expected = bySorting(row, k);
      selector.select(size, k);
      expect([...memory.chosen.subarray(0, k)]).toEqual(expected);
      if (k === size) continue;
      memory.chosen.fill(0);
      selector.selectByRadix(size, k);
      expect([...memory.chosen.subarray(0, k)]).toEqual(expected);
    }
  });
});

it('leaves a bin of many to radix selection', () => {
  const memory = new RowMemory(1000);
  memory.load(Float32Array.from({ length: 1000 }, (_, i) => (i === 0 ? 1e9 : i)));
  expect(memory.boundary(memory.collect(-Infinity), 10)).toBe(999);
  expect(MAX_MEMBERS).toBeLessThan(999);
  memory.load(Float32Array.from({ length: 1000 }, (_, i) => i));
  const found = memory.boundary(memory.collect(990), 5);
  expect([...memory.members.subarray(0, found)]).toEqual([5]);
  expect(memory.wanted).toBe(1);
});
