import { beforeEach, expect, it } from 'vitest';
import { Kernels, wireBytes, type WireFormat } from './kernels.ts';

const memory = new WebAssembly.Memory({ initial: 16, maximum: 16, shared: true });
const kernels = new Kernels(memory, 0);
const [A, B, OUT] = [1024, 128 * 1024, 256 * 1024];
const floats = (at: number, count: number): Float32Array => new Float32Array(memory.buffer, at, count);
const halves = (at: number, count: number): Uint16Array => new Uint16Array(memory.buffer, at, count);

beforeEach(() => new Uint8Array(memory.buffer).fill(0xab));

/** float32 → 16 bits by arithmetic on exact numbers: the slow reference. */
function narrow(x: number, format: Exclude<WireFormat, 'float32'>): number {
  const [mantissa, minExponent, maxExponent] = format === 'float16' ? [10, -14, 15] : [7, -126, 127];
  const sign = Object.is(x, -0) || x < 0 ? 0x8000 : 0;
  if (Number.isNaN(x)) return NaN;
  const a = Math.abs(x);
  const inf = ((maxExponent - minExponent + 2) << mantissa) | sign;
  if (a === Infinity) return inf;
  if (a === 0) return sign;
  let exponent = Math.max(Math.floor(Math.log2(a)), minExponent);
  if (a < 2 ** exponent && exponent > minExponent) exponent--;
  const scaled = a / 2 ** (exponent - mantissa);
  const down = Math.floor(scaled);
  const rest = scaled - down;
  const rounded = rest > 0.5 || (rest === 0.5 && down % 2 === 1) ? down + 1 : down;
  const value = rounded * 2 ** (exponent - mantissa);
  if (value >= 2 ** (maxExponent + 1)) return inf;
  return sign + ((exponent - minExponent) << mantissa) + rounded;
}

const HARD = [
  ...[0, -0, 1, -1, 0.1, 65504, 65519.996, 65520, 65536, 1e-8, 5.96e-8, 2.98e-8, 2 ** -25, 6.1e-5, 6.09756e-5],
  ...[
    3.3895313892515355e38, 3.4e38, 1e-40, -3.4e38, 1.0009765625, 1.00048828125, 1.00390625, 1.01171875, 2049, 2051,
    1e-38,
  ],
  ...[Infinity, -Infinity, NaN],
];

it.each(['bfloat16', 'float16'] as const)('rounds float32 to %s, to nearest and ties to even', (format) => {
  const random = Array.from({ length: 5000 }, (_, i) => Math.sin(i * 12.9898) * 2 ** ((i % 60) - 35));
  const values = floats(A, HARD.length + random.length);
  values.set([...HARD, ...random]);
  kernels.encode(OUT, format, A, values.length);
  const got = halves(OUT, values.length);
  const wrong = [...values].filter((x, i) =>
    Number.isNaN(x) ? (got[i]! & 0x7fff) <= (format === 'float16' ? 0x7c00 : 0x7f80) : got[i] !== narrow(x, format),
  );
  expect(wrong).toEqual([]);
  expect(halves(OUT, values.length + 1)[values.length]).toBe(0xabab);
});

it.each([
  ['bfloat16', 0x7f80, 2 ** -132],
  ['float16', 0x7c00, 2 ** -23],
] as const)('reads back every number of %s exactly', (format, infinity, second) => {
  const bits = Uint16Array.from({ length: 65536 }, (_, i) => i);
  halves(A, bits.length).set(bits);
  kernels.decode(2 ** 18, format, A, bits.length);
  const wide = floats(2 ** 18, bits.length).slice();
  expect(wide[2]).toBe(second);
  kernels.encode(A, format, 2 ** 18, bits.length);
  const back = halves(A, bits.length);
  const isNaNBits = (i: number): boolean => (i & 0x7fff) > infinity;
  expect([...bits].filter((i) => (isNaNBits(i) ? !Number.isNaN(wide[i]) : back[i] !== i))).toEqual([]);
});

it.each([0, 1, 7, 15, 16, 17, 1000])('combines and scales %i elements and nothing beyond', (count) => {
  const a = floats(A, count + 1);
  const b = floats(B, count + 1);
  for (let i = 0; i <= count; i++) [a[i], b[i]] = [i - 3, 2 * i - 100];
  floats(OUT, count + 1)[count] = 42;
  kernels.combine('add', OUT, A, B, count);
  const out = floats(OUT, count + 1);
  const expected = (of: (i: number) => number): Float32Array => Float32Array.from({ length: count }, (_, i) => of(i));
  expect(out.slice(0, count)).toEqual(expected((i) => 3 * i - 103));
  kernels.scale(OUT, 0.5, count);
  expect(out.slice(0, count)).toEqual(expected((i) => (3 * i - 103) / 2));
  kernels.combine('max', OUT, A, B, count);
  expect(out.slice(0, count)).toEqual(expected((i) => Math.max(i - 3, 2 * i - 100)));
  for (const format of ['float32', 'bfloat16', 'float16'] as const) {
    for (const how of ['add', 'max'] as const) {
      for (let i = 0; i < count; i++) b[i] = (i % 64) - 7; // exact in every format
      kernels.encode(B + 64 * 1024, format, B, count);
      for (let i = 0; i < count; i++) out[i] = i;
      kernels.accumulate(how, OUT, format, B + 64 * 1024, count);
      const joined = (i: number): number => (how === 'add' ? i + (i % 64) - 7 : Math.max(i, (i % 64) - 7));
      expect(out.slice(0, count), `${how} ${format}`).toEqual(expected(joined));
    }
  }
  expect(out[count]).toBe(42);
});

it.each([1, 2, 3, 4, 5, 8])('gives the sum of %i places to all of them, and nothing beyond', (size) => {
  for (const count of [0, 1, 7, 16, 1000, 4500]) {
    const places = Array.from({ length: size }, (_, i) => A + i * 32 * 1024);
    const fill = (): void => {
      for (const [r, place] of places.entries()) {
        const tensor = floats(place, count + 1);
        for (let i = 0; i < count; i++) tensor[i] = (i % 50) * (r + 1) - 20;
        tensor[count] = 42;
      }
    };
    for (const how of ['add', 'max'] as const) {
      fill();
      kernels.combineAll(how, places, 0.5, count);
      const all = (i: number): number[] => places.map((_, r) => (i % 50) * (r + 1) - 20);
      const expected = Float32Array.from({ length: count }, (_, i) =>
        how === 'add' ? all(i).reduce((a, b) => a + b) / 2 : Math.max(...all(i)) / 2,
      );
      for (const place of places) {
        expect(floats(place, count + 1).slice(0, count), `${how} ${count}`).toEqual(expected);
        expect(floats(place, count + 1)[count]).toBe(42);
      }
    }
  }
});

it('keeps NaN', () => {
  floats(A, 16).fill(1);
  floats(A, 16)[3] = NaN;
  floats(B, 16).fill(2);
  kernels.combine('max', OUT, A, B, 16);
  expect(floats(OUT, 5)).toEqual(new Float32Array([2, 2, 2, NaN, 2]));
});

it('knows the bytes of an element', () => {
  expect([wireBytes('float32'), wireBytes('bfloat16'), wireBytes('float16')]).toEqual([4, 2, 2]);
});
