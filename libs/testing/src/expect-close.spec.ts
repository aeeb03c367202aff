import { describe, expect, it } from 'vitest';
import { expectClose } from './expect-close.ts';

describe('expectClose', () => {
  it('accepts what lies on the bound and refuses what lies past it', () => {
    expectClose([1.5, -2], [1, -2], { absolute: 0.5 });
    expect(() => expectClose([1.5, -2], [1, -2], { absolute: 0.49 })).toThrow('worst at index 0 of 2');
    expectClose([110], [100], { relative: 0.1 });
    expect(() => expectClose([111], [100], { relative: 0.1 })).toThrow();
    expectClose([111], [100], { absolute: 1, relative: 0.1 });
  });

  it('names the worst index, both values, the tolerance and how many are outside', () => {
    expect(() => expectClose([1, 2.5, 3, 5], [1, 2, 3, 4], { absolute: 0.25 })).toThrow(
      'worst at index 3 of 4: expected 4; got 5; they differ by 1, allowed 0.25 ' +
        '(absolute 0.25 + relative 0 × own magnitude 4); 2 outside',
    );
  });

  it('measures against the largest element when told to', () => {
    expectClose(Float32Array.of(0.0625, 64), [0, 64], { relative: 1e-3, scale: 'max' });
    expect(() => expectClose([0.0625, 64], [0, 64], { relative: 1e-3 })).toThrow('own magnitude 0');
    expect(() => expectClose([0.125, 64], [0, 64], { relative: 1e-3, scale: 'max' })).toThrow(
      'allowed 0.064 (absolute 0 + relative 0.001 × largest magnitude 64)',
    );
  });

  it.each([
    [[NaN], [1]],
    [[1], [NaN]],
    [[NaN], [NaN]],
    [[Infinity], [1]],
    [[1], [Infinity]],
    [[-Infinity], [Infinity]],
  ])('refuses %j against %j however wide the tolerance', (actual, expected) => {
    expect(() => expectClose(actual, expected, { absolute: 1e300, relative: 1, scale: 'max' })).toThrow('index 0');
    expect(() => expectClose(actual, expected, { absolute: 1e300, relative: 1 })).toThrow('index 0');
  });

  it('calls a NaN worse than any number, and equal infinities close', () => {
    expect(() => expectClose([9, NaN, 99], [1, 1, 1], { absolute: 0 })).toThrow('index 1');
    expectClose([Infinity, 1], [Infinity, 1], { absolute: 0 });
  });

  it('refuses another length, and a call without a tolerance', () => {
    expect(() => expectClose([1, 2], [1], { absolute: 1 })).toThrow('expected 1 numbers; got 2');
    expect(() => expectClose([1], [1], {})).toThrow('tolerance must give absolute, relative or both; got neither');
    expect(() => expectClose([1], [1], { absolute: -1 })).toThrow('absolute must be >= 0; got -1');
    expect(() => expectClose([1], [1], { relative: NaN })).toThrow('relative must be >= 0; got NaN');
  });
});
