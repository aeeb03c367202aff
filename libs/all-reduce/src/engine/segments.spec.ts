import { expect, it } from 'vitest';
import { contiguousAddress, cut } from './segments.ts';
import type { Piece } from './piece.ts';

it('packs small tensors together and cuts large ones', () => {
  expect(cut([3, 0, 5], 6)).toEqual([
    {
      count: 6,
      parts: [
        { tensor: 0, start: 0, count: 3 },
        { tensor: 2, start: 0, count: 3 },
      ],
    },
    { count: 2, parts: [{ tensor: 2, start: 3, count: 2 }] },
  ]);
  expect(cut([10, 200_000, 1], 150_000).map(({ count }) => count)).toEqual([10, 150_000, 50_001]);
  expect(cut([], 6)).toEqual([{ parts: [], count: 0 }]);
  expect(cut([0], 6)).toEqual([{ parts: [], count: 0 }]);
});

it('knows what lies in one stretch', () => {
  const piece = (address: number | undefined, count: number): Piece => ({
    ...{ address, count },
    read: () => undefined,
    write: () => undefined,
  });
  const segment = cut([4, 6], 100)[0]!;
  expect(contiguousAddress(segment, [piece(64, 4), piece(80, 6)])).toBe(64);
  expect(contiguousAddress(segment, [piece(64, 4), piece(128, 6)])).toBeUndefined();
  expect(contiguousAddress(segment, [piece(64, 4), piece(undefined, 6)])).toBeUndefined();
  expect(contiguousAddress(cut([4, 6], 5)[1]!, [piece(64, 4), piece(80, 6)])).toBe(84);
});
