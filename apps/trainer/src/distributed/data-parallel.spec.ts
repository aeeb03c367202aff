import { expectClose, temporaryFolder } from '@clip-gen/testing';
import { beforeAll, describe, expect, it } from 'vitest';
import { TINY_VQGAN, writeTinyData } from '../tiny-trainings.ts';
import { expectAlike, launchTrainings as launch } from './launched-trainings.ts';
import { trainTiny, type RankReport, type RankTraining } from './training-rank.ts';
import { World } from './world.ts';

// Two processes with batches of 2 must learn what one process learns from batches of 4: 13 pictures, 3 held back, are
// 2 steps an epoch. Losses agree to rounding; what the two processes end with agrees to the last bit.
const SLOW = 300_000;
const STEPS = 6;

let pictures: string;
let models: string;
beforeAll(async () => {
  ({ pictures, models } = await writeTinyData(await temporaryFolder()));
}, SLOW);

const GPT = { conditionDropout: 0.3, conditionNoise: 0.5, tokenNoise: 0.5, averageDecay: 0.9, learningRate: 0.003 };
const VQGAN = { reviveSteps: 3, averageDecay: 0.9, augmentation: { flip: true, brightness: 0.3 }, learningRate: 0.003 };

function training(stage: RankTraining['stage'], settings: object, out: string): RankTraining {
  return { stage, settings, pictures, models, imageSize: 16, out, report: 'report', held: 3 };
}

describe('two processes', { timeout: SLOW }, () => {
  it('learn what one learns from batches of twice the size', async () => {
    const folders = await Promise.all(Array.from({ length: 6 }, () => temporaryFolder()));
    const adversarial = {
      ...VQGAN,
      model: { ...TINY_VQGAN, imageSize: 32 },
      adversarial: { weight: 0.8, startEpoch: 1 },
      batchSize: 2,
    };
    const { reports, lines } = await launch(2, [
      training('gpt', { ...GPT, batchSize: 2 }, folders[0]!),
      training('vqgan', { ...VQGAN, batchSize: 2 }, folders[1]!),
      { ...training('vqgan', adversarial, folders[2]!), imageSize: 32 },
    ]);
    expect(lines).toEqual([]);
    const [gpt, vqgan, discriminated] = reports;
    const alone = (given: RankTraining): Promise<RankReport> => trainTiny(given, World.alone());
    const wholeGpt = await alone(training('gpt', { ...GPT, batchSize: 4 }, folders[3]!));
    expect(wholeGpt.metrics).toHaveLength(STEPS);
    expectAlike(gpt!, wholeGpt, 1e-4);
    const inRuns = { ...GPT, batchSize: 1, accumulate: 4 };
    expectAlike([await alone(training('gpt', inRuns, folders[5]!))], wholeGpt, 1e-4);
    expectAlike(vqgan!, await alone(training('vqgan', { ...VQGAN, batchSize: 4 }, folders[4]!)), 1e-3);

    // The discriminator's BatchNorm sees each process's part alone: no equal there, but the same everywhere.
    const [first, second] = discriminated!;
    expect(second).toEqual(first);
    const balanced = first!.metrics.map(({ adaptive }) => adaptive !== undefined);
    expect(balanced).toEqual([false, false, true, true, true, true]);
    expect(first!.metrics.every(({ loss, skipped }) => Number.isFinite(loss) && !skipped)).toBe(true);
  });

  it('stop together wherever one is asked to, and go on to the last digit, also as another number of processes', async () => {
    const whole = await temporaryFolder();
    const stopped = await temporaryFolder();
    const regrouped = await temporaryFolder();
    const gpt = (out: string, changes: object = {}): RankTraining => ({
      ...training('gpt', { ...GPT, batchSize: 2 }, out),
      ...changes,
    });
    // In the middle of an epoch, asked of rank 1; at the last step of one, asked of rank 0; then to the end.
    const { reports } = await launch(2, [
      gpt(whole),
      gpt(stopped, { report: 'first', stopAfter: 1, stoppingRank: 1 }),
      gpt(stopped, { report: 'second', stopAfter: 2 }),
      gpt(stopped, { report: 'third' }),
      gpt(regrouped, { stopAfter: 3, stoppingRank: 1 }),
    ]);
    const [uninterrupted, first, second, third, begun] = reports.map(([report, other]) => {
      expect(other).toEqual(report);
      return report!;
    });
    expect([first, second, third, begun].map((report) => report!.finished)).toEqual([false, false, true, false]);
    expect(first!.metrics).toHaveLength(1);
    const parts = [first, second, third].flatMap((report) => report!.metrics);
    expect(parts).toEqual(uninterrupted!.metrics);
    expect(third!.state).toEqual(uninterrupted!.state);

    const alone = await trainTiny(training('gpt', { ...GPT, batchSize: 4 }, regrouped), World.alone());
    const losses = ({ metrics }: RankReport): number[] => metrics.map(({ loss }) => loss!);
    expectClose([...losses(begun!), ...losses(alone)], losses(uninterrupted!), { relative: 1e-4 });
    expect(alone.finished).toBe(true);
  });
});
