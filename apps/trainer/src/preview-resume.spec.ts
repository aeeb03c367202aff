import { temporaryFolder } from '@clip-gen/testing';
import { beforeAll, describe, expect, it } from 'vitest';
import { expectAlike, launchTrainings } from './distributed/launched-trainings.ts';
import { trainTiny, type RankReport, type RankTraining } from './distributed/training-rank.ts';
import { World } from './distributed/world.ts';
import { writeTinyData } from './tiny-trainings.ts';

// 13 pictures, 3 held back, in batches of 4: 2 steps an epoch, 3 epochs.
const SLOW = 300_000;
const STEPS = 6;

let pictures: string;
let models: string;
beforeAll(async () => {
  ({ pictures, models } = await writeTinyData(await temporaryFolder()));
}, SLOW);

async function training(settings: object, out?: string): Promise<RankTraining> {
  const folder = out ?? (await temporaryFolder());
  return { stage: 'preview', settings, pictures, models, imageSize: 16, out: folder, report: 'report', held: 3 };
}

describe('preview', { timeout: SLOW }, () => {
  it.each([
    ['from kept pictures', { averageDecay: 0.9 }],
    ['from pictures made again', { augmentation: { flip: true, shiftPixels: 2 } }],
  ])('goes on to the last digit %s', async (_, settings) => {
    const whole = await trainTiny(await training(settings), World.alone());
    expect(whole.metrics).toHaveLength(STEPS);
    const out = await temporaryFolder();
    const parts: RankReport[] = [];
    for (const stopAfter of [1, 4, STEPS]) {
      parts.push(await trainTiny({ ...(await training(settings, out)), stopAfter }, World.alone()));
    }
    expect(parts.flatMap(({ metrics }) => metrics)).toEqual(whole.metrics);
    expect(parts.at(-1)!.state).toEqual(whole.state);
  });

  it('learns in two processes what one learns from the whole batch', async () => {
    const settings = { original: 0.25 };
    const made = { augmentation: { flip: true, brightness: 0.2 } };
    const { reports, lines } = await launchTrainings(2, [
      await training({ ...settings, batchSize: 2 }),
      await training({ ...made, batchSize: 1, accumulate: 2 }),
    ]);
    expect(lines).toEqual([]);
    expectAlike(reports[0]!, await trainTiny(await training({ ...settings, batchSize: 4 }), World.alone()), 1e-4);
    expectAlike(reports[1]!, await trainTiny(await training({ ...made, batchSize: 4 }), World.alone()), 1e-4);
  });
});
