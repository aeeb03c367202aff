import { expect, it } from 'vitest';
import { ClipGenError, invalidArgument } from './clip-gen-error.ts';

it('carries a code, a name and its cause', () => {
  const cause = new RangeError('inner');
  const error = new ClipGenError('data_corrupt', 'the header is cut short', { cause });
  expect(error).toBeInstanceOf(Error);
  expect(error).toMatchObject({
    name: 'ClipGenError',
    code: 'data_corrupt',
    message: 'the header is cut short',
    cause,
  });
  expect(String(error)).toBe('ClipGenError: the header is cut short');
  expect(error.retryAfterMs).toBeUndefined();
});

it('says when to come back', () => {
  expect(new ClipGenError('resource_exhausted', 'the queue is full', { retryAfterMs: 250 }).retryAfterMs).toBe(250);
});

it.each([
  [0, '0'],
  [NaN, 'NaN'],
  [undefined, 'undefined'],
  ['', '""'],
  ['a\nb', String.raw`"a\nb"`],
  ['x'.repeat(80), `"${'x'.repeat(80)}"`],
  ['x'.repeat(81), `"${'x'.repeat(77)}..."`],
])('names the argument, the bound and %j', (got, shown) => {
  const error = invalidArgument('topK', 'in [1, 16384]', got);
  expect(error.code).toBe('invalid_argument');
  expect(error.message).toBe(`topK must be in [1, 16384]; got ${shown}`);
});
