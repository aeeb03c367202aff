import * as generation from '@clip-gen/generation';
import { RandomStream } from '@clip-gen/rng';
import { expect, it } from 'vitest';
import { Best, cosine } from './ranking.ts';

it('scores and ranks exactly as the command line does', () => {
  const random = new RandomStream(1);
  const vector = (): Float32Array => Float32Array.from({ length: 512 }, () => random.normal());
  const prompt = vector();
  const pictures = Array.from({ length: 40 }, vector);
  pictures[7] = pictures[3]!; // equal scores
  const scores = pictures.map((picture) => generation.cosine(prompt, picture));
  expect(pictures.map((picture) => cosine([...prompt], [...picture]))).toEqual(scores);

  const best = new Best<string>(10);
  const arrivals = [...scores.keys()].reverse(); // in any order
  for (const candidate of arrivals) best.add({ item: `${candidate}`, score: scores[candidate]!, candidate });
  expect(best.kept.map(({ candidate }) => candidate)).toEqual(generation.rank(scores).slice(0, 10));
  expect(best.kept.every(({ item, candidate }) => item === `${candidate}`)).toBe(true);
});
