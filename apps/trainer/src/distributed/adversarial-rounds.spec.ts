import { temporaryFolder } from '@clip-gen/testing';
import type { ImageDataset } from '@clip-gen/datasets';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { Metrics } from '../stage.ts';
import { VqganStage } from '../stages/vqgan-stage.ts';
import { openPictures, TINY_VQGAN, tinyVqganTraining, writePictures } from '../tiny-trainings.ts';
import { freePort } from './free-port.ts';
import { LocalSteps } from './local-steps.ts';
import { World } from './world.ts';

// Two processes that train a VQGAN against its discriminator, each alone between the ends of rounds.
const SLOW = 120_000;
const STEPS = 2;

let dataset: ImageDataset;
const worlds: World[] = [];
const stages: VqganStage[] = [];
beforeAll(async () => {
  const pictures = await temporaryFolder();
  await writePictures(pictures, 12, 32);
  dataset = await openPictures(pictures, 32);
}, SLOW);
afterAll(async () => {
  for (const stage of stages) await stage.close();
  await Promise.all(worlds.map((world) => world.close()));
  await dataset.close();
});

/** One process. Outer steps at rate 1 without momentum end at the mean of what the processes made. */
class Rank {
  readonly stage: VqganStage;
  readonly local: LocalSteps;
  readonly lines: string[] = [];
  #taken = 0;

  constructor(readonly world: World) {
    const settings = tinyVqganTraining({
      model: { ...TINY_VQGAN, imageSize: 32 },
      adversarial: { weight: 0.8, startEpoch: 0 },
      localSteps: { steps: STEPS, outerLearningRate: 1, outerMomentum: 0 },
      ...{ batchSize: 2, epochs: 50, reviveSteps: 0, averageDecay: 0.9 },
    });
    this.stage = new VqganStage(
      settings,
      { network: { kind: 'none' }, weights: {} },
      dataset,
      undefined,
      undefined,
      world,
    );
    stages.push(this.stage);
    this.local = new LocalSteps({
      world,
      state: this.stage.rounds,
      settings: settings.localSteps!,
      print: (line) => this.lines.push(line),
      rejoin: async () => void (await world.rejoin()),
      recall: () => Promise.resolve(false),
    });
    this.local.begin(0);
  }

  async meet(): Promise<void> {
    const place = { epoch: 0, stepInEpoch: this.#taken, globalStep: this.#taken, bestScore: null };
    await this.local.meet({ place, validates: false, stops: false, saves: false });
  }

  async steps(): Promise<Metrics[]> {
    const metrics: Metrics[] = [];
    for await (const batch of this.stage.batches(0, this.#taken)) {
      metrics.push(await this.stage.step(batch, { epoch: 0, globalStep: this.#taken, learningRate: 0.003 }));
      this.#taken++;
      if (metrics.length === STEPS) break;
    }
    return metrics;
  }

  /** Copies of the tensors of the state that `names` fits. */
  tensors(names: RegExp): Map<string, Float64Array> {
    const all = [...this.stage.state().tensors].filter(([name]) => names.test(name));
    return new Map(all.map(([name, { data }]) => [name, Float64Array.from(data, Number)]));
  }

  get batches(): unknown {
    return this.stage.state().notes['batches'];
  }
}

/** Names of the tensors that are not the same to the last bit. A discriminator is too large to be compared by `toEqual`. */
function differences(one: Map<string, Float64Array>, other: Map<string, Float64Array>): string[] {
  expect([...other.keys()]).toEqual([...one.keys()]);
  expect(one.size).toBeGreaterThan(0);
  const bytes = ({ buffer }: Float64Array): Buffer => Buffer.from(buffer);
  return [...one.keys()].filter((name) => !bytes(one.get(name)!).equals(bytes(other.get(name)!)));
}

const VALUES = /^(generator|discriminator)\.values\./;

it('ends a round with the same generator, discriminator, statistics and counts', { timeout: SLOW }, async () => {
  const rendezvous = `127.0.0.1:${await freePort()}`;
  const token = 'only for tests';
  for (const rank of [0, 1]) {
    worlds.push(World.elastic({ rank, worldSize: 2, rendezvous, token, heartbeatTimeoutMs: 20_000 }));
  }
  await Promise.all(worlds.map((world) => world.enter(60_000)));
  const ranks = worlds.map((world) => new Rank(world));
  const each = <T>(work: (rank: Rank) => Promise<T>): Promise<T[]> => Promise.all(ranks.map(work));
  await each((rank) => rank.meet());
  const start = ranks[0]!.tensors(VALUES);
  expect(differences(ranks[1]!.tensors(VALUES), start)).toEqual([]);
  expect([...start.keys()].some((name) => name.startsWith('discriminator.'))).toBe(true);

  // Alone: each balances its losses by its own batch, and moves both networks its own way.
  const [own, others] = await each((rank) => rank.steps());
  expect(own!.every(({ adaptive }, i) => adaptive! > 0 && adaptive !== others![i]!['adaptive'])).toBe(true);
  const [first, second] = ranks as [Rank, Rank];
  const [one, other] = [first.tensors(VALUES), second.tensors(VALUES)];
  const [oneRunning, otherRunning] = [first.tensors(/^running\./), second.tensors(/^running\./)];
  const [oneUsage, otherUsage] = ranks.map((rank) => rank.tensors(/^usage$/).get('usage')!);
  for (const network of ['generator.', 'discriminator.']) {
    for (const [before, after] of [
      [start, one],
      [one, other],
    ] as const) {
      expect(differences(before, after).some((name) => name.startsWith(network))).toBe(true);
    }
  }
  expect(differences(oneRunning, otherRunning)).not.toEqual([]);

  await each((rank) => rank.meet());
  for (const names of [VALUES, /\.averages\./, /^running\./, /^usage$/]) {
    expect(differences(second.tensors(names), first.tensors(names))).toEqual([]);
  }
  for (const [name, values] of first.tensors(VALUES)) {
    const [a, b] = [one.get(name)!, other.get(name)!];
    const largest = values.reduce((most, value, i) => Math.max(most, Math.abs(value - (a[i]! + b[i]!) / 2)), 0);
    expect(largest, name).toBeLessThan(5e-7);
  }
  expect(first.tensors(/^usage$/).get('usage')).toEqual(oneUsage!.map((count, code) => count + otherUsage![code]!));
  const running = first.tensors(/^running\./);
  expect(running.size).toBeGreaterThan(0);
  for (const [name, values] of running) {
    const [a, b] = [oneRunning.get(name)!, otherRunning.get(name)!];
    const mean = name.replace(/variance$/, 'mean');
    const [meanA, meanB] = [oneRunning.get(mean)!, otherRunning.get(mean)!];
    values.forEach((value, c) => {
      const between = name.endsWith('variance') ? ((meanA[c]! - meanB[c]!) / 2) ** 2 : 0;
      expect(Math.abs(value - (a[c]! + b[c]!) / 2 - between), name).toBeLessThan(1e-5 * (1 + Math.abs(value)));
    });
  }
  expect(second.batches).toEqual(first.batches);
  // The next round begins with the same on both, and their own moments.
  const moments = /^discriminator\.firstMoments/;
  expect(differences(second.tensors(moments), first.tensors(moments))).not.toEqual([]);
  await each((rank) => rank.steps());
  await each((rank) => rank.meet());
  const shared = /values|running|usage/;
  expect(differences(second.tensors(shared), first.tensors(shared))).toEqual([]);
  for (const { lines } of ranks) expect(lines).toEqual([]);
});
