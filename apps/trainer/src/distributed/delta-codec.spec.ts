import { RandomStream } from '@clip-gen/rng';
import { expect, it } from 'vitest';
import { addDecodedDelta, BLOCK, encodeDelta, encodedBytes } from './delta-codec.ts';

function normal(length: number, scale: (i: number) => number): Float32Array {
  const stream = new RandomStream(7, length);
  return Float32Array.from({ length }, (_, i) => scale(i) * (stream.uniform() + stream.uniform() - 1));
}

it.each([0, 1, 3, BLOCK - 1, BLOCK, BLOCK + 1, 5000])('loses at most half a step of %i values', (length) => {
  // Blocks of very different size: each has a scale of its own.
  const values = normal(length, (i) => 10 ** -(Math.floor(i / BLOCK) % 30));
  const bytes = new Uint8Array(encodedBytes(length));
  expect(bytes.length).toBe(Math.ceil(length / BLOCK) * 4 + Math.ceil(length / 4) * 4);
  const residual = new Float32Array(length);
  encodeDelta(values, bytes, residual);
  const decoded = new Float32Array(length);
  addDecodedDelta(bytes, 1, decoded);
  for (let from = 0; from < length; from += BLOCK) {
    const greatest = Math.max(...values.subarray(from, from + BLOCK).map(Math.abs));
    for (let i = from; i < Math.min(length, from + BLOCK); i++) {
      expect(Math.abs(values[i]! - decoded[i]!)).toBeLessThanOrEqual((greatest / 254) * 1.00001);
      expect(Math.abs(values[i]! - decoded[i]! - residual[i]!)).toBeLessThanOrEqual(greatest * 1e-7);
    }
  }
});

it('keeps zeros, extremes and values too small for a scale', () => {
  const values = Float32Array.of(0, -0, 3.4e38, -3.4e38, 1.7e38);
  const tiny = Float32Array.of(1e-44, -1e-40, 0);
  for (const [given, wanted] of [
    [values, [0, 0, 3.4e38, -3.4e38, (64 / 127) * 3.4e38]],
    [tiny, [0, 0, 0]],
  ] as const) {
    const bytes = new Uint8Array(encodedBytes(given.length));
    const residual = new Float32Array(given.length);
    encodeDelta(given, bytes, residual);
    const decoded = new Float32Array(given.length);
    addDecodedDelta(bytes, 1, decoded);
    decoded.forEach((value, i) => expect(value).toBeCloseTo(wanted[i]!, -33));
    if (given === tiny) expect(residual).toEqual(tiny);
  }
});

it('with what was lost added to the next, the sum of all that was sent stays within one step of the sum', () => {
  const length = 300;
  const residual = new Float32Array(length);
  const [sent, wanted] = [new Float32Array(length), new Float64Array(length)];
  const bytes = new Uint8Array(encodedBytes(length));
  // One large value a block: the others are below half a step and would never be sent without it.
  const delta = Float32Array.from({ length }, (_, i) => (i % BLOCK === 0 ? 1 : 0.001));
  for (let round = 0; round < 200; round++) {
    const corrected = delta.map((value, i) => value + residual[i]!);
    encodeDelta(corrected, bytes, residual);
    addDecodedDelta(bytes, 1, sent);
    for (let i = 0; i < length; i++) wanted[i]! += delta[i]!;
  }
  for (let i = 0; i < length; i++) expect(Math.abs(sent[i]! - wanted[i]!)).toBeLessThan(1 / 127);
  expect(sent[1]).toBeGreaterThan(0.19);
});

it('refuses bytes of another length', () => {
  expect(() => addDecodedDelta(new Uint8Array(8), 1, new Float32Array(5))).toThrow(
    'a delta of 5 values has 12 bytes; got 8',
  );
});
