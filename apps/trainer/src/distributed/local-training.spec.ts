import { temporaryFolder } from '@clip-gen/testing';
import { beforeAll, describe, expect, it } from 'vitest';
import { TINY_VQGAN, writeTinyData } from '../tiny-trainings.ts';
import { freePort } from './free-port.ts';
import { trainTiny, type RankReport, type RankTraining } from './training-rank.ts';
import { World } from './world.ts';

const SLOW = 120_000;
const TOKEN = 'only for tests';

let pictures: string;
let models: string;
beforeAll(async () => {
  ({ pictures, models } = await writeTinyData(await temporaryFolder()));
}, SLOW);

/** Both processes of a training, in this one. */
async function trainBoth(given: RankTraining): Promise<RankReport[]> {
  const rendezvous = `127.0.0.1:${await freePort()}`;
  const worlds = [0, 1].map((rank) =>
    World.elastic({ rank, worldSize: 2, rendezvous, token: TOKEN, heartbeatTimeoutMs: 20_000 }),
  );
  await Promise.all(worlds.map((world) => world.enter(60_000)));
  const reports = await Promise.all(worlds.map((world) => trainTiny(given, world)));
  await Promise.all(worlds.map((world) => world.close()));
  return reports;
}

/** With a discriminator from the third step on, in the middle of the first round. */
const ADVERSARIAL = {
  model: { ...TINY_VQGAN, imageSize: 32 },
  adversarial: { weight: 0.8, startEpoch: 1 },
  reviveSteps: 3,
  averageDecay: 0.9,
  localSteps: { steps: 4 },
};
const GPT = { conditionDropout: 0.3, conditionNoise: 0.5, tokenNoise: 0.5, averageDecay: 0.9, learningRate: 0.003 };

function training(stage: 'vqgan' | 'gpt', settings: object, out: string, changes: object = {}): RankTraining {
  return {
    stage,
    settings: { batchSize: 2, ...settings },
    pictures,
    models,
    imageSize: 16,
    out,
    report: 'report',
    held: 3,
    ...changes,
  };
}

describe('a training', { timeout: SLOW }, () => {
  it.each([
    ['gpt', { ...GPT, localSteps: { steps: 4, deltaBits: 8 } }],
    ['vqgan', ADVERSARIAL, { imageSize: 32 }],
  ] as const)('of the %s goes on exactly where a round ended', async (stage, settings, size: object = {}) => {
    const [whole, parted] = [await temporaryFolder(), await temporaryFolder()];
    const undisturbed = await trainBoth(training(stage, settings, whole, size));
    expect(undisturbed.map(({ finished, metrics }) => [finished, metrics.length])).toEqual([
      [true, 6],
      [true, 6],
    ]);
    const shared = (report: RankReport): string[] =>
      Object.entries(report.state).flatMap(([name, hash]) => (/Moments/.test(name) ? [] : [`${name} ${hash}`]));
    expect(shared(undisturbed[1]!)).toEqual(shared(undisturbed[0]!));
    expect(undisturbed[1]!.state).not.toEqual(undisturbed[0]!.state);
    // Asked in the middle of a round, by rank 1: the round comes to its end.
    const stopped = await trainBoth(training(stage, settings, parted, { ...size, stopAfter: 4, stoppingRank: 1 }));
    expect(stopped.map(({ finished, metrics }) => [finished, metrics.length])).toEqual([
      [false, 4],
      [false, 4],
    ]);
    const continued = await trainBoth(training(stage, settings, parted, size));
    for (const rank of [0, 1]) {
      expect([...stopped[rank]!.metrics, ...continued[rank]!.metrics]).toEqual(undisturbed[rank]!.metrics);
      expect(continued[rank]!.state).toEqual(undisturbed[rank]!.state);
      expect(continued[rank]!.bestScore).toBe(undisturbed[rank]!.bestScore);
    }
  });
});
