import { describe, expect, it } from 'vitest';
import { bytesPerElement, DTYPES } from './dtype.ts';
import { elementCount, emptyTensor, tensor } from './tensor.ts';

describe('tensor', () => {
  it('keeps the data it is given', () => {
    const data = Float32Array.of(1, 2, 3, 4, 5, 6);
    const made = tensor('float32', [2, 3], data);
    expect(made).toEqual({ dtype: 'float32', shape: [2, 3], data });
    expect(made.data).toBe(data);
  });

  it('has one element without dimensions and none where a dimension is 0', () => {
    expect(elementCount([])).toBe(1);
    expect(elementCount([3, 0, 5])).toBe(0);
    expect(tensor('int64', [], BigInt64Array.of(7n)).data[0]).toBe(7n);
    expect(emptyTensor('uint8', [3, 0]).data).toHaveLength(0);
  });

  it('refuses data that does not fit the shape', () => {
    expect(() => tensor('float32', [2, 3], new Float32Array(5))).toThrow(
      'data must hold 6 elements for shape [2, 3]; got 5',
    );
    expect(() => tensor('float32', [], new Float32Array(0))).toThrow('data must hold 1 elements for shape []; got 0');
  });

  it.each([[[-1]], [[1.5]], [[NaN]], [[2 ** 53]], [[Infinity]]])('refuses the shape %j', (shape) => {
    expect(() => tensor('uint8', shape, new Uint8Array(1))).toThrow('shape must hold non-negative integers');
    expect(() => emptyTensor('uint8', shape)).toThrow('shape must hold non-negative integers');
  });
});

describe('emptyTensor', () => {
  it.each(DTYPES)('allocates %s zeros of its size', (dtype) => {
    const { data, shape } = emptyTensor(dtype, [2, 3]);
    expect(shape).toEqual([2, 3]);
    expect(data).toHaveLength(6);
    expect(data.BYTES_PER_ELEMENT).toBe(bytesPerElement(dtype));
    expect([...data].every((value) => value === 0 || value === 0n)).toBe(true);
  });
});
