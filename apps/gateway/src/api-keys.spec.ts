import { expect, it } from 'vitest';
import { ApiKeys } from './api-keys.ts';

it('lets everyone in where there are no keys', () => {
  expect(new ApiKeys('').allow(undefined)).toBe(true);
  expect(new ApiKeys(' , ').allow('Bearer x')).toBe(true);
});

it.each([
  ['Bearer one', true],
  ['bearer  two ', true],
  ['Bearer three', false],
  ['Bearer one,two', false],
  ['Bearer ', false],
  ['Basic one', false],
  ['one', false],
  [undefined, false],
])('asks for a key: %j', (authorization, allowed) => {
  expect(new ApiKeys('one, two').allow(authorization)).toBe(allowed);
});
