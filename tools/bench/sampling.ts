/**
 * Drawing a token from a row of logits: the sampler beside a full sort of the row, in the same run, interleaved, medians.
 *
 *     node --import tsx tools/bench/sampling.ts
 */
import { sampleByFullSort } from '../../libs/sampling/src/full-sort.ts';
import { Sampler, tokenUniform, validateSampling, type SamplingOptions } from '../../libs/sampling/src/index.ts';
import { RandomStream } from '../../libs/rng/src/index.ts';

const ROWS = 16;
const ROUNDS = 200;
const CASES: [vocabularySize: number, options: SamplingOptions][] = [
  [16384, { temperature: 1, topK: 500, topP: 0.95 }],
  [16384, { temperature: 1, topK: 500 }],
  [16384, { temperature: 1, topP: 0.95 }],
  [16384, { temperature: 1 }],
  [16384, { temperature: 0 }],
  [1024, { temperature: 1, topK: 500, topP: 0.95 }],
];

const median = (times: number[]): number => times.toSorted((a, b) => a - b)[Math.floor(times.length / 2)]!;
console.log('vocabulary  options                                     sampler ms  full sort ms   ratio');
for (const [vocabularySize, given] of CASES) {
  const random = new RandomStream(1);
  const rows = Array.from({ length: ROWS }, () =>
    Float32Array.from({ length: vocabularySize }, () => random.normal() * 2),
  );
  const sampler = new Sampler(vocabularySize);
  const options = validateSampling(given, vocabularySize);
  const fast: number[] = [];
  const slow: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    const row = rows[round % ROWS]!;
    const uniform = tokenUniform(1, 0, round);
    const start = performance.now();
    const drawn = sampler.sampleRow(row, given, uniform);
    const middle = performance.now();
    const want = sampleByFullSort(row, options, uniform);
    const end = performance.now();
    if (drawn !== want) throw new Error(`round ${round}: the sampler drew ${drawn}, the full sort ${want}`);
    fast.push(middle - start);
    slow.push(end - middle);
  }
  const [own, naive] = [median(fast), median(slow)];
  const columns = [own.toFixed(3).padStart(12), naive.toFixed(3).padStart(14), (naive / own).toFixed(0).padStart(8)];
  console.log(`${String(vocabularySize).padStart(10)}  ${JSON.stringify(given).padEnd(42)}${columns.join('')}`);
}
