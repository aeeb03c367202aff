import { temporaryFolder } from '@clip-gen/testing';
import { beforeAll, expect, it } from 'vitest';
import { writePictures } from '../tiny-trainings.ts';
import { expectAlike, launchTrainings } from './launched-trainings.ts';
import { trainTiny, type RankTraining } from './training-rank.ts';
import { World } from './world.ts';

// Two processes must compare all their pictures with all their captions: a loss within each alone would be that of half
// the choice, and a gradient of each alone would leave out what the others' rows say about its own.
const SLOW = 300_000;
/** 13 pictures, 3 or 5 held back, in batches of 4. */
const STEPS = 6;
const SETTINGS = { averageDecay: 0.9, augmentation: { flip: true, brightness: 0.3 }, learningRate: 0.003 };

let pictures: string;
beforeAll(async () => {
  pictures = await temporaryFolder();
  await writePictures(pictures, 13);
}, SLOW);

async function training(changes: object, held = 3): Promise<RankTraining> {
  const settings = { ...SETTINGS, ...changes };
  const out = await temporaryFolder();
  return { stage: 'clip', settings, pictures, models: '', imageSize: 16, out, report: 'report', held };
}

it(
  'two processes, and several runs of each, learn what one learns from the whole batch',
  { timeout: SLOW },
  async () => {
    const alone = async (changes: object, held?: number) => trainTiny(await training(changes, held), World.alone());
    const { reports, lines } = await launchTrainings(2, [
      await training({ batchSize: 2 }),
      await training({ batchSize: 1, accumulate: 2 }),
      await training({ batchSize: 2 }, 5), // more than a batch is held back
    ]);
    expect(lines).toEqual([]);
    const whole = await alone({ batchSize: 4 });
    expect(whole.metrics).toHaveLength(STEPS);
    for (const report of reports.slice(0, 2)) expectAlike(report, whole, 1e-4);
    expectAlike([await alone({ batchSize: 1, accumulate: 4 })], whole, 1e-4);
    expectAlike(reports[2]!, await alone({ batchSize: 4 }, 5), 1e-4);
  },
);
