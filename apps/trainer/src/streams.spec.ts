import { RandomStream } from '@clip-gen/rng';
import { expect, it } from 'vitest';
import { STREAMS } from './streams.ts';

it('has a stream of its own for each purpose', () => {
  const numbers = Object.values(STREAMS);
  for (const number of numbers) expect(number >>> 0).toBe(number);
  const draws = numbers.map((number) => new RandomStream(1, number, 2).uint32());
  expect(new Set(draws).size).toBe(numbers.length);
});
