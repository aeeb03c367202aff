import { temporaryFolder } from '@clip-gen/testing';
import { beforeAll, expect, it } from 'vitest';
import { writeTinyData } from '../tiny-trainings.ts';
import { launchTrainings } from './launched-trainings.ts';
import type { RankReport, RankTraining } from './training-rank.ts';

// 13 pictures, 3 held back, are 2 steps an epoch for two processes with batches of 2.
const SLOW = 300_000;
const STEPS = 6;

let pictures: string;
let models: string;
beforeAll(async () => {
  ({ pictures, models } = await writeTinyData(await temporaryFolder()));
}, SLOW);

function training(out: string): RankTraining {
  const noise = { conditionDropout: 0.3, conditionNoise: 0.5, tokenNoise: 0.5 };
  const settings = { ...noise, averageDecay: 0.9, learningRate: 0.003, batchSize: 2 };
  return { stage: 'gpt', settings, pictures, models, imageSize: 16, out, report: 'report', held: 3 };
}

it('two processes go on when one is killed and started again', { timeout: SLOW }, async () => {
  const [whole, killed] = [await temporaryFolder(), await temporaryFolder()];
  const survivor = training(killed);
  const { reports, lines } = await launchTrainings(2, [{ ...survivor, killRank: 1, killAfter: 3 }], 1);
  expect(lines).toEqual(['rank 1 was lost (SIGKILL): it is started again and joins as epoch 1; restarts left: 0']);
  const [[first, second]] = reports as [RankReport[]];
  expect([first!.epoch, second!.epoch]).toEqual([1, 1]);
  // From the step that rank 0 held in memory: the third, or the second where it learnt of the loss first.
  expect([STEPS - 3, STEPS - 2]).toContain(second!.metrics.length);
  const [[undisturbed]] = (await launchTrainings(2, [training(whole)])).reports as [RankReport[]];
  expect(first!.state).toEqual(undisturbed!.state);
  expect(second!.state).toEqual(undisturbed!.state);
});
