import { tensor } from '@clip-gen/tensor';
import { describe, expect, it } from 'vitest';
import { expectTensor } from './expect-tensor.ts';

const a = tensor('float32', [2], Float32Array.of(1, 100));

describe('expectTensor', () => {
  it('passes within the tolerance', () => {
    expectTensor('a', tensor('float32', [2], Float32Array.of(1.05, 100)), a, { relative: 1e-3, scale: 'max' });
  });

  it.each([
    ['a: there is no such tensor', undefined],
    ['a: expected float32 [2]; got float32 [1, 2]', tensor('float32', [1, 2], a.data)],
    ['a: expected float32 [2]; got int32 [2]', tensor('int32', [2], Int32Array.of(1, 100))],
    ['a float32 [2]: worst at index 0', tensor('float32', [2], Float32Array.of(1.2, 100))],
  ])('fails: %s', (message, actual) => {
    expect(() => expectTensor('a', actual, a, { relative: 1e-3, scale: 'max' })).toThrow(message);
  });

  it('wants integers equal, whatever the tolerance', () => {
    const [x, y] = [tensor('int64', [1], BigInt64Array.of(5n)), tensor('int64', [1], BigInt64Array.of(6n))];
    expectTensor('x', x, x, { absolute: 10 });
    expect(() => expectTensor('x', x, y, { absolute: 10 })).toThrow('worst at index 0');
  });
});
