import { expectClose } from '@clip-gen/testing';
import { expect, it } from 'vitest';
import { learningRates } from './learning-rate.ts';

const settings = { epochs: 4, learningRate: 0.1, warmupEpochs: 0.5, schedule: 'cosine' } as const;

it('rises over the warm-up and falls to 0 at the last step', () => {
  const rate = learningRates(settings, 10);
  expectClose([0, 1, 2, 3, 4].map(rate), [0.02, 0.04, 0.06, 0.08, 0.1], { relative: 1e-12 });
  expect(rate(5)).toBeCloseTo(0.1, 12);
  expect(rate(5 + 35 / 2)).toBeCloseTo(0.05, 12);
  expect(rate(40)).toBeCloseTo(0, 12);
  for (let step = 6; step < 40; step++) expect(rate(step)).toBeLessThan(rate(step - 1));
});

it('stays when it is constant', () => {
  const rate = learningRates({ ...settings, schedule: 'constant' }, 10);
  expectClose([0, 1, 2, 3, 4].map(rate), [0.02, 0.04, 0.06, 0.08, 0.1], { relative: 1e-12 });
  expect([5, 39, 1000].map(rate)).toEqual([0.1, 0.1, 0.1]);
  expect(learningRates({ ...settings, schedule: 'constant', warmupEpochs: 0 }, 10)(0)).toBe(0.1);
});

it('keeps a warm-up that is longer than the training within it', () => {
  const rate = learningRates({ ...settings, epochs: 1, warmupEpochs: 5 }, 3);
  expectClose([0, 1, 2].map(rate), [0.05, 0.1, 0.1], { relative: 1e-12 });
});
