import { RandomStream } from '@clip-gen/rng';
import { describe, expect, it } from 'vitest';
import { sampleByFullSort } from './full-sort.ts';
import { Sampler } from './sampler.ts';
import { validateSampling } from './sampling-options.ts';
import { tokenUniform } from './token-uniform.ts';

type Row = (random: RandomStream, size: number) => Float32Array;
const ROWS: Record<string, Row> = {
  normal: (random, size) => Float32Array.from({ length: size }, () => random.normal() * 3),
  'few values, many ties': (random, size) => Float32Array.from({ length: size }, () => random.integer(5) - 2),
  'all equal': (_, size) => new Float32Array(size).fill(-7.5),
  'zeros of both signs': (random, size) => Float32Array.from({ length: size }, () => (random.integer(2) ? 0 : -0)),
  'narrow, far from zero': (random, size) => Float32Array.from({ length: size }, () => 100 + random.uniform() / 1000),
  'all negative': (random, size) => Float32Array.from({ length: size }, () => -1 - 50 * random.uniform()),
  'extremes of float32': (random, size) =>
    Float32Array.from({ length: size }, () => [3.4e38, -3.4e38, 1e-45, -1e-45, 1e30, 0][random.integer(6)]!),
  'one dominates': (random, size) => {
    const row = Float32Array.from({ length: size }, () => random.normal());
    row[random.integer(size)] = 1e4;
    return row;
  },
};

describe.each(Object.keys(ROWS))('rows: %s', (kind) => {
  it.each([1, 2, 7, 300, 5000])('agrees with a full sort, vocabulary %i', (size) => {
    const random = new RandomStream(11, size);
    const sampler = new Sampler(size);
    for (let round = 0; round < (size > 1000 ? 12 : 40); round++) {
      const row = ROWS[kind]!(random, size);
      const before = row.slice();
      const options = {
        temperature: [0, 0.01, 0.7, 1, 10][random.integer(5)]!,
        topK: [0, 1, Math.min(2, size), 1 + random.integer(size), size][random.integer(5)]!,
        topP: [1e-9, 0.3, 0.95, 0.999999, 1][random.integer(5)]!,
      };
      const uniform = random.uniform();
      const want = sampleByFullSort(row, validateSampling(options, size), uniform);
      expect(sampler.sampleRow(row, options, uniform), JSON.stringify({ options, uniform })).toBe(want);
      expect(row).toEqual(before);
    }
  });
});

describe('a row much longer than topK', () => {
  const size = 16384;
  const stride = size / 256; // which logits a shortlist is guessed from
  const rows: Record<string, (random: RandomStream) => Float32Array> = {
    normal: (random) => Float32Array.from({ length: size }, () => random.normal()),
    'large where a sample looks': (random) =>
      Float32Array.from({ length: size }, (_, i) => (i % stride === 0 ? 50 : random.normal())),
    'small where a sample looks': (random) =>
      Float32Array.from({ length: size }, (_, i) => (i % stride === 0 ? -50 : random.normal())),
    'zeros of both signs on top': (random) =>
      Float32Array.from({ length: size }, () => (random.integer(9) === 0 ? [0, -0][random.integer(2)]! : -1)),
  };
  it.each(Object.keys(rows))('agrees with a full sort: %s', (kind) => {
    const random = new RandomStream(12);
    const sampler = new Sampler(size);
    for (const [topK, topP] of [
      [500, 0.95],
      [500, 1],
      [3, 1],
      [2048, 0.5],
    ] as const) {
      const row = rows[kind]!(random);
      const options = { temperature: 1, topK, topP };
      const uniform = random.uniform();
      const want = sampleByFullSort(row, validateSampling(options, size), uniform);
      expect(sampler.sampleRow(row, options, uniform), JSON.stringify(options)).toBe(want);
    }
  });
});

it('draws the distribution of the top-k, renormalised (chi-square)', () => {
  const logits = Float32Array.from([0.1, 2, -1, 1.5, 0.3, 1, -3, 0.9]);
  const options = { temperature: 0.8, topK: 5 };
  const top = [1, 3, 5, 7, 4];
  const weights = top.map((index) => Math.exp(logits[index]! / 0.8));
  const total = weights.reduce((a, b) => a + b);
  const sampler = new Sampler(8);
  const counts = new Array<number>(8).fill(0);
  const draws = 20_000;
  for (let i = 0; i < draws; i++) counts[sampler.sampleRow(logits, options, tokenUniform(5, 0, i))]!++;
  let chiSquare = 0;
  for (const [rank, index] of top.entries()) {
    const expected = (draws * weights[rank]!) / total;
    chiSquare += (counts[index]! - expected) ** 2 / expected;
  }
  expect(chiSquare).toBeLessThan(18.47); // 4 degrees of freedom, p = 0.001
  expect(counts[0]! + counts[2]! + counts[6]!).toBe(0);
});

it('draws the same token whatever else is drawn, and others for other keys', () => {
  const logits = Float32Array.from({ length: 1000 }, (_, i) => Math.sin(i));
  const options = { temperature: 1, topK: 500, topP: 0.95 };
  const draw = (sampler: Sampler, candidate: number, position: number) =>
    sampler.sampleRow(logits, options, tokenUniform(42, candidate, position));
  const alone = Array.from({ length: 50 }, (_, position) => draw(new Sampler(1000), 3, position));
  const shared = new Sampler(1000);
  const batched = Array.from({ length: 50 }, (_, position) => {
    for (const other of [0, 1, 2]) draw(shared, other, position);
    return draw(shared, 3, position);
  });
  expect(batched).toEqual(alone);
  expect(Array.from({ length: 50 }, (_, position) => draw(shared, 4, position))).not.toEqual(alone);
  expect(() => tokenUniform(1, -1, 0)).toThrow('candidate must be an integer in [0, 2^32); got -1');
  expect(() => tokenUniform(1, 0, 0.5)).toThrow('position must be');
});

it('takes the lowest index among the largest when greedy', () => {
  const sampler = new Sampler(4);
  expect(sampler.sampleRow(Float32Array.of(1, 3, 3, 2), { temperature: 0 }, 0.99)).toBe(1);
  expect(sampler.sampleRow(Float32Array.of(-0, 0, -0, -1), { temperature: 1, topK: 1 }, 0.99)).toBe(0);
});

it.each([NaN, Infinity, -Infinity])('refuses a logit of %s', (bad) => {
  const logits = new Float32Array(16);
  logits[9] = bad;
  for (const temperature of [0, 1]) {
    expect(() => new Sampler(16).sampleRow(logits, { temperature }, 0.5)).toThrow(
      `logits must be finite; got ${bad} at index 9`,
    );
  }
});

it('refuses another length and a uniform out of [0, 1)', () => {
  const sampler = new Sampler(16);
  expect(() => sampler.sampleRow(new Float32Array(15), { temperature: 1 }, 0)).toThrow(
    'logits must be of 16 elements; got 15',
  );
  for (const uniform of [-0.1, 1, NaN]) {
    expect(() => sampler.sampleRow(new Float32Array(16), { temperature: 1 }, uniform)).toThrow(
      'uniform must be in [0, 1)',
    );
  }
  expect(() => new Sampler(0)).toThrow('vocabularySize must be an integer in [1, 2097152]; got 0');
});
