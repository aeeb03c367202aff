import { cp } from 'node:fs/promises';
import { expectClose, temporaryFolder } from '@clip-gen/testing';
import { beforeAll, expect, it } from 'vitest';
import { writeTinyData } from '../tiny-trainings.ts';
import { launchTrainings } from './launched-trainings.ts';
import { trainTiny, type RankReport, type RankTraining } from './training-rank.ts';
import { World } from './world.ts';

// 13 pictures, 3 held back, in batches of 4 over all processes: 2 steps an epoch, 3 epochs.
const SLOW = 240_000;
const STEPS = 6;

let pictures: string;
let models: string;
beforeAll(async () => {
  ({ pictures, models } = await writeTinyData(await temporaryFolder()));
}, SLOW);

/** One process's part of batches of 4. */
function training(processes: number, out: string, changes: Partial<RankTraining> = {}): RankTraining {
  const settings = { conditionNoise: 0.5, tokenNoise: 0.5, averageDecay: 0.9, learningRate: 0.003 };
  return {
    ...{ stage: 'gpt', pictures, models, imageSize: 16, out, report: 'report', held: 3 },
    settings: { ...settings, batchSize: 4 / processes },
    ...changes,
  };
}

const losses = (reports: readonly RankReport[]): number[] =>
  reports.flatMap(({ metrics }) => metrics.map(({ loss }) => loss!));

it(
  'goes on with 1 or 4 processes where 2 stopped, in the middle of an epoch or at its end',
  { timeout: SLOW },
  async () => {
    const [whole, middle, end] = [await temporaryFolder(), await temporaryFolder(), await temporaryFolder()];
    const uninterrupted = await trainTiny(training(1, whole), World.alone());
    expect(uninterrupted.metrics).toHaveLength(STEPS);
    const { reports: begun } = await launchTrainings(2, [
      training(2, middle, { stopAfter: 3 }),
      training(2, end, { stopAfter: 4 }),
    ]);
    const places = [
      { stopped: middle, first: begun[0]![0]!, steps: 3 },
      { stopped: end, first: begun[1]![0]!, steps: 4 },
    ];
    const copies = await Promise.all(
      places.map(async ({ stopped }) => {
        const copy = await temporaryFolder();
        await cp(stopped, copy, { recursive: true });
        return copy;
      }),
    );
    const { reports: byFour } = await launchTrainings(
      4,
      copies.map((copy) => training(4, copy)),
    );
    for (const [i, { stopped, first, steps }] of places.entries()) {
      expect(first.finished).toBe(false);
      expect(first.metrics).toHaveLength(steps);
      const byOne = await trainTiny(training(1, stopped), World.alone());
      for (const rest of [byOne, byFour[i]![0]!]) {
        expect(rest.finished).toBe(true);
        expectClose(losses([first, rest]), losses([uninterrupted]), { relative: 1e-4 });
        expectClose([rest.bestScore!], [uninterrupted.bestScore!], { relative: 1e-4 });
      }
      for (const other of byFour[i]!) expect(other.state).toEqual(byFour[i]![0]!.state);
    }
  },
);
