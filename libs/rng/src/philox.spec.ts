import { expect, it } from 'vitest';
import { philox4x32 } from './philox.ts';
import { RandomStream } from './random-stream.ts';

it('agrees with the known-answer vectors of Random123', () => {
  expect([...philox4x32([0, 0, 0, 0], [0, 0])]).toEqual([0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]);
  const f = 0xffffffff;
  expect([...philox4x32([f, f, f, f], [f, f])]).toEqual([0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd]);
  expect([...philox4x32([0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344], [0xa4093822, 0x299f31d0])]).toEqual([
    0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1,
  ]);
});

it('continues from a saved position', () => {
  const whole = new RandomStream(7, 1, 2);
  const first = Array.from({ length: 11 }, () => whole.uint32());
  const rest = new RandomStream(7, 1, 2, 5);
  expect(Array.from({ length: 6 }, () => rest.uint32())).toEqual(first.slice(5));
});

it('draws normals of mean 0 and variance 1', () => {
  const stream = new RandomStream(3);
  const n = 20_000;
  let sum = 0;
  let squares = 0;
  for (let i = 0; i < n; i++) {
    const x = stream.normal();
    sum += x;
    squares += x * x;
  }
  expect(Math.abs(sum / n)).toBeLessThan(0.03); // 4 standard errors
  expect(Math.abs(squares / n - 1)).toBeLessThan(0.04);
});

it('shuffles to a permutation and names a bad bound', () => {
  const items = new RandomStream(1).shuffle(Uint32Array.from({ length: 100 }, (_, i) => i));
  expect([...items].sort((a, b) => a - b)).toEqual(Array.from({ length: 100 }, (_, i) => i));
  expect([...items]).not.toEqual(Array.from({ length: 100 }, (_, i) => i));
  expect(() => new RandomStream(1).integer(0)).toThrow('bound must be an integer in [1, 2^32]; got 0');
  expect(() => new RandomStream(-1)).toThrow('seed');
});
