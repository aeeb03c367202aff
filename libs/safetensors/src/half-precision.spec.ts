import { tensor } from '@clip-gen/tensor';
import { describe, expect, it } from 'vitest';
import { toBfloat16, toFloat16, toFloat32 } from './convert.ts';
import { bfloat16ToFloat32, float16ToFloat32, float32ToBfloat16, float32ToFloat16 } from './half-precision.ts';

/** IEEE 754 binary16 by its definition, with powers of two instead of bit moves. */
function definition(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 31) return fraction === 0 ? sign * Infinity : NaN;
  return sign * (exponent === 0 ? (fraction / 1024) * 2 ** -14 : (1 + fraction / 1024) * 2 ** (exponent - 15));
}

describe('float16', () => {
  it('widens every one of its 65536 values by the definition', () => {
    let wrong = 0;
    for (let bits = 0; bits < 65536; bits++) if (!Object.is(float16ToFloat32(bits), definition(bits))) wrong++;
    expect(wrong).toBe(0);
  });

  it('narrows every one of its values to itself', () => {
    let wrong = 0;
    for (let bits = 0; bits < 65536; bits++) {
      const value = definition(bits);
      const back = float32ToFloat16(value);
      if (Number.isNaN(value) ? !Number.isNaN(definition(back)) : back !== bits) wrong++;
    }
    expect(wrong).toBe(0);
  });

  it('rounds between any two neighbours to the nearest, ties to even', () => {
    let wrong = 0;
    for (let bits = 0; bits < 0x7c00; bits++) {
      const low = definition(bits);
      // Past the largest value the next step of the same size would be 65536.
      const high = bits === 0x7bff ? 65536 : definition(bits + 1);
      const middle = (low + high) / 2; // a float32: it needs one bit more than float16
      const even = bits & 1 ? bits + 1 : bits;
      if (float32ToFloat16(middle) !== even) wrong++;
      if (float32ToFloat16(-middle) !== (even | 0x8000)) wrong++;
      if (float32ToFloat16(nextFloat32(middle, -1)) !== bits) wrong++;
      if (float32ToFloat16(nextFloat32(middle, 1)) !== bits + 1) wrong++;
    }
    expect(wrong).toBe(0);
  });

  it.each([
    [65519.996, 0x7bff],
    [65520, 0x7c00],
    [3.4e38, 0x7c00],
    [-Infinity, 0xfc00],
    [2 ** -25, 0],
    [-(2 ** -25), 0x8000],
    [2 ** -149, 0],
    [-0, 0x8000],
  ])('narrows %d', (value, bits) => expect(float32ToFloat16(value)).toBe(bits));
});

describe('bfloat16', () => {
  it('keeps each of its 65536 values', () => {
    let wrong = 0;
    for (let bits = 0; bits < 65536; bits++) {
      const value = bfloat16ToFloat32(bits);
      const back = float32ToBfloat16(value);
      if (Number.isNaN(value) ? !Number.isNaN(bfloat16ToFloat32(back)) : back !== bits) wrong++;
    }
    expect(wrong).toBe(0);
  });

  it('rounds between any two neighbours to the nearest, ties to even', () => {
    let wrong = 0;
    for (let bits = 0; bits < 0x7f80; bits++) {
      const low = bfloat16ToFloat32(bits);
      const high = bits === 0x7f7f ? 2 ** 128 : bfloat16ToFloat32(bits + 1);
      const middle = (low + high) / 2;
      const even = bits & 1 ? bits + 1 : bits;
      if (float32ToBfloat16(middle) !== even) wrong++;
      if (float32ToBfloat16(-middle) !== (even | 0x8000)) wrong++;
      if (float32ToBfloat16(nextFloat32(middle, -1)) !== bits) wrong++;
      if (float32ToBfloat16(nextFloat32(middle, 1)) !== bits + 1) wrong++;
    }
    expect(wrong).toBe(0);
  });
});

describe('conversion of tensors', () => {
  const source = tensor('float32', [3], new Float32Array([1, -2.5, 1e-3]));

  it('returns a tensor of the asked type as it is', () => {
    expect(toFloat32(source)).toBe(source);
    const half = toFloat16(source);
    expect(toFloat16(half)).toBe(half);
    const brain = toBfloat16(source);
    expect(toBfloat16(brain)).toBe(brain);
  });

  it('goes there and back within half a unit in the last place', () => {
    expect(toFloat16(source)).toEqual(tensor('float16', [3], new Uint16Array([0x3c00, 0xc100, 0x1419])));
    expect(toBfloat16(source)).toEqual(tensor('bfloat16', [3], new Uint16Array([0x3f80, 0xc020, 0x3a83])));
    expect(toFloat32(toFloat16(source)).data[2]).toBeCloseTo(1e-3, 6);
    expect(toFloat16(toBfloat16(source)).data[1]).toBe(0xc100);
    expect(toFloat32(tensor('float64', [1], new Float64Array([0.1]))).data[0]).toBe(Math.fround(0.1));
  });

  it('refuses integers', () => {
    expect(() => toFloat32(tensor('int32', [1], new Int32Array(1)))).toThrow(
      'source.dtype must be a floating-point type',
    );
    expect(() => toFloat16(tensor('float64', [1], new Float64Array(1)))).toThrow(
      'source.dtype must be float32, float16',
    );
  });
});

/** The float32 one step further from zero (`step` 1) or nearer to it (`step` -1). */
function nextFloat32(value: number, step: 1 | -1): number {
  const float = new Float32Array([value]);
  const word = new Uint32Array(float.buffer);
  word[0] = (word[0] ?? 0) + step;
  return float[0] ?? NaN;
}
