import { temporaryFolder } from '@clip-gen/testing';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { Progress } from '../checkpoint.ts';
import type { FrozenModels } from '../stages/frozen-models.ts';
import type { PictureTokens } from '../stages/encode-pictures.ts';
import { GptStage } from '../stages/gpt-stage.ts';
import { pictureTokens } from '../stages/token-cache.ts';
import { loadFrozenModels, openPictures, recordedLine, tinyGptTraining, writeTinyData } from '../tiny-trainings.ts';
import { freePort } from './free-port.ts';
import { LocalSteps, type Meeting } from './local-steps.ts';
import { World } from './world.ts';

const SLOW = 120_000;
const TOKEN = 'only for tests';

let pictures: string;
let models: string;
let frozen: FrozenModels;
let tokens: PictureTokens;
beforeAll(async () => {
  ({ pictures, models } = await writeTinyData(await temporaryFolder()));
  frozen = await loadFrozenModels(models);
  const dataset = await openPictures(pictures);
  const cache = { folder: await temporaryFolder(), root: pictures, threads: 1, line: recordedLine().line };
  tokens = await pictureTokens(dataset, frozen, cache);
  await dataset.close();
}, SLOW);

const worlds: World[] = [];
afterEach(async () => {
  await Promise.all(worlds.splice(0).map((world) => world.close()));
});

async function enter(worldSize: number, lateMs: number): Promise<World[]> {
  const rendezvous = `127.0.0.1:${await freePort()}`;
  const made = Array.from({ length: worldSize }, (_, rank) =>
    World.elastic({ rank, worldSize, rendezvous, token: TOKEN, heartbeatTimeoutMs: 20_000 }),
  );
  worlds.push(...made);
  await Promise.all(made.map((world) => world.enter(lateMs)));
  return made;
}

/** One process of a training with local steps, driven step by step. */
class Rank {
  readonly stage: GptStage;
  readonly local: LocalSteps;
  readonly lines: string[] = [];
  place: Progress = { epoch: 0, stepInEpoch: 0, globalStep: 0, bestScore: null };

  constructor(
    readonly world: World,
    settings: object,
  ) {
    const checked = tinyGptTraining({ batchSize: 2, epochs: 50, ...settings });
    this.stage = new GptStage(checked, frozen, tokens, undefined, world);
    this.local = new LocalSteps({
      world,
      state: this.stage.rounds,
      settings: checked.localSteps!,
      print: (line) => this.lines.push(line),
      rejoin: async () => void (await world.rejoin()),
      recall: () => Promise.resolve(false),
    });
    if (world.isFirst) this.local.begin(0);
  }

  async meet(): Promise<Meeting> {
    const meeting = await this.local.meet({ place: this.place, validates: false, stops: false, saves: false });
    this.place = meeting.place;
    return meeting;
  }

  async steps(count: number): Promise<void> {
    for (let i = 0; i < count; i++) {
      const { epoch, stepInEpoch, globalStep } = this.place;
      for await (const batch of this.stage.batches(epoch, stepInEpoch)) {
        await this.stage.step(batch, { epoch, globalStep, learningRate: 0.01 });
        break;
      }
      const next = stepInEpoch + 1;
      const ends = next === this.stage.stepsPerEpoch;
      this.place = {
        ...this.place,
        epoch: ends ? epoch + 1 : epoch,
        stepInEpoch: ends ? 0 : next,
        globalStep: globalStep + 1,
      };
    }
  }

  tensors(kind: string): Map<string, Float32Array> {
    const all = [...this.stage.state().tensors].filter(([name]) => name.startsWith(`gpt.${kind}.`));
    return new Map(all.map(([name, { data }]) => [name, (data as Float32Array).slice()]));
  }
}

const each = <T>(ranks: readonly Rank[], work: (rank: Rank) => Promise<T>): Promise<T[]> =>
  Promise.all(ranks.map(work));

describe('a round', { timeout: SLOW }, () => {
  it.each([32, 16, 8] as const)(
    'of one step, at rate 1 without momentum, ends at the mean (%i bits)',
    async (deltaBits) => {
      const localSteps = { steps: 1, outerLearningRate: 1, outerMomentum: 0, deltaBits };
      const ranks = (await enter(2, 60_000)).map((world) => new Rank(world, { localSteps, averageDecay: 0.5 }));
      await each(ranks, (rank) => rank.meet());
      const start = ranks[0]!.tensors('values');
      expect(ranks[1]!.tensors('values')).toEqual(start);
      await each(ranks, (rank) => rank.steps(1));
      const [one, other] = ranks.map((rank) => rank.tensors('values'));
      expect(one).not.toEqual(other);
      const meetings = await each(ranks, (rank) => rank.meet());
      expect(meetings.map(({ contributors, moved }) => [contributors, moved])).toEqual(
        [0, 1].map(() => [[0, 1], false]),
      );
      expect(ranks[1]!.tensors('values')).toEqual(ranks[0]!.tensors('values'));
      for (const [name, values] of ranks[0]!.tensors('values')) {
        // A step of Adam moves a value by 0.01: 8 bits are off by 1/254 of the greatest of a block at most.
        const bound = deltaBits === 8 ? 0.01 / 254 + 1e-6 : 1e-6;
        values.forEach((value, i) => {
          expect(Math.abs(value - (one!.get(name)![i]! + other!.get(name)![i]!) / 2)).toBeLessThan(bound);
        });
      }
      // The moving average follows the end of the round: decay min(0.5, 2/11).
      const [averages, ends] = [ranks[0]!.tensors('averages'), ranks[0]!.tensors('values')];
      for (const [name, average] of averages) {
        const value = name.replace('averages', 'values');
        average.forEach((found, i) => {
          const wanted = (2 / 11) * start.get(value)![i]! + (9 / 11) * ends.get(value)![i]!;
          expect(Math.abs(found - wanted)).toBeLessThan(1e-6);
        });
      }
      expect(ranks[1]!.tensors('averages')).toEqual(averages);
    },
  );

  it('leaves the same parameters on three ranks, again and again, and moments of their own', async () => {
    const localSteps = { steps: 3, deltaBits: 8 };
    const ranks = (await enter(3, 60_000)).map((world) => new Rank(world, { localSteps, batchSize: 1 }));
    await each(ranks, (rank) => rank.meet());
    for (let round = 0; round < 4; round++) {
      await each(ranks, (rank) => rank.steps(3));
      for (const { contributors, distance } of await each(ranks, (rank) => rank.meet())) {
        expect(contributors).toEqual([0, 1, 2]);
        expect(distance).toBeGreaterThan(0);
      }
      const [first, ...others] = ranks.map((rank) => rank.tensors('values'));
      for (const other of others) expect(other).toEqual(first);
      expect(ranks[1]!.tensors('firstMoments')).not.toEqual(ranks[0]!.tensors('firstMoments'));
    }
    expect(await ranks[0]!.world.bytesSent()).toBeGreaterThan(0);
    for (const { lines } of ranks) expect(lines).toEqual([]);
  });

  it('does without one that is late, which takes the outer parameters when it comes', async () => {
    const localSteps = { steps: 2, lateSeconds: 1 };
    const ranks = (await enter(3, 1000)).map((world) => new Rank(world, { localSteps, batchSize: 1 }));
    const [first, late, third] = ranks as [Rank, Rank, Rank];
    await each(ranks, (rank) => rank.meet());
    await each(ranks, (rank) => rank.steps(2));
    const present = await each([first, third], (rank) => rank.meet());
    expect(present.map(({ contributors }) => contributors)).toEqual([
      [0, 2],
      [0, 2],
    ]);
    expect(first.lines).toEqual([
      'waited 1 s for the others at the end of a round',
      expect.stringContaining('a process is too late; the others go on with those who are there'),
      '2 of 3 processes go on, without rank 1 from here',
    ]);
    await each([first, third], (rank) => rank.steps(2));
    const back = late.meet();
    while (!first.world.isAwaited) await new Promise((resolve) => setTimeout(resolve, 20));
    const [one, , other] = await Promise.all([first.meet(), back, third.meet()]);
    expect([one.contributors, other.contributors]).toEqual([
      [0, 2],
      [0, 2],
    ]);
    expect(await back).toMatchObject({ moved: true, place: { globalStep: 4 } });
    expect(late.tensors('values')).toEqual(first.tensors('values'));
    expect(third.tensors('values')).toEqual(first.tensors('values'));
    await each(ranks, (rank) => rank.steps(2));
    for (const { contributors } of await each(ranks, (rank) => rank.meet())) expect(contributors).toEqual([0, 1, 2]);
    expect(late.tensors('values')).toEqual(first.tensors('values'));
    expect(first.lines.slice(3)).toEqual([
      'rank 1 took the outer parameters',
      '3 of 3 processes go on, with rank 1 from here',
    ]);
  });
});
