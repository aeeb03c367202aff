import { expect, it } from 'vitest';
import { readInteger, readNumber } from './index.ts';

it.each([
  ['7', 7],
  ['+7', 7],
  ['-3', -3],
  ['9007199254740991', 2 ** 53 - 1],
  ['9007199254740993', undefined],
  ['99999999999999999', undefined],
  ['101', undefined],
  ['7.0', undefined],
  ['1e2', undefined],
  ['0x7', undefined],
  [' 7', undefined],
  ['', undefined],
  ['seven', undefined],
])('the integer %j is %s', (text, value) => {
  expect(readInteger(text, -3, text.length > 9 ? 2 ** 60 : 100)).toBe(value);
});

it.each([
  ['2', 2],
  ['0.5', 0.5],
  ['.5', 0.5],
  ['5.', 5],
  ['1e-4', 1e-4],
  ['-1E+1', -10],
  ['1e999', undefined],
  ['10.5', undefined],
  ['Infinity', undefined],
  ['NaN', undefined],
  ['0x1', undefined],
  ['1,5', undefined],
  ['.', undefined],
  ['', undefined],
])('the number %j is %s', (text, value) => {
  expect(readNumber(text, -10, 10)).toBe(value);
});
