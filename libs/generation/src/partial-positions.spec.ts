import { expect, it } from 'vitest';
import { partialPositions } from './partial-positions.ts';

it.each([
  [0, 64, []],
  [1, 64, [32]],
  [2, 64, [21, 43]],
  [3, 4, [1, 2, 3]],
  [16, 4, [1, 2, 3]],
  [1, 1, []],
])('%i pictures of %i tokens are due at %j', (count, tokens, due) => {
  expect(partialPositions(count, tokens)).toEqual(due);
});
