import { tensor } from '@clip-gen/tensor';
import { afterEach, expect, it } from 'vitest';
import { freePort } from './free-port.ts';
import { agree, synchronize } from './synchronize.ts';
import { World } from './world.ts';

const worlds: World[] = [];
afterEach(async () => {
  await Promise.all(worlds.splice(0).map((world) => world.close()));
});

async function join(worldSize: number): Promise<World[]> {
  const rendezvous = `127.0.0.1:${await freePort()}`;
  const ranks = Array.from({ length: worldSize }, (_, rank) => rank);
  const joined = await Promise.all(
    ranks.map((rank) => World.join({ rank, worldSize, rendezvous, token: 'only for tests' })),
  );
  worlds.push(...joined);
  return joined;
}

it.each([1, 3])('exchanges numbers, texts and bits among %i', async (size) => {
  const all = await join(size);
  const each = <T>(work: (world: World) => Promise<T>): Promise<T[]> => Promise.all(all.map(work));
  const third = 1 / 3;
  for (const sums of await each((world) => world.sums([third * world.rank, 2 ** 60, world.rank]))) {
    expect(sums).toEqual([third * 0 + (size > 1 ? third + third * 2 : 0), size * 2 ** 60, (size * (size - 1)) / 2]);
  }
  expect(await each((world) => world.means({ a: world.rank }))).toEqual(all.map(() => ({ a: (size - 1) / 2 })));
  expect(await each((world) => world.any(world.rank === size - 1))).toEqual(all.map(() => true));
  expect(await each((world) => world.any(false))).toEqual(all.map(() => false));
  const rows = await each((world) => world.gather(Float32Array.of(world.rank, 10 + world.rank)));
  expect(rows.map((all) => [...all])).toEqual(all.map(() => all.flatMap(({ rank }) => [rank, 10 + rank])));
  const forAll = Float32Array.from({ length: 2 * size }, (_, i) => i);
  const own = await each((world) => world.sumOfOwn(forAll.map((value) => value + 100 * world.rank)));
  const hundreds = 50 * size * (size - 1);
  expect(own.map((sums) => [...sums])).toEqual(
    all.map(({ rank }) => [2 * rank * size + hundreds, (2 * rank + 1) * size + hundreds]),
  );
  const text = { name: 'Käse', list: [1, null] };
  expect(await each((world) => world.share(world.rank === size - 1 ? text : null, size - 1))).toEqual(
    all.map(() => text),
  );
  const bits = Int32Array.of(-1, 0x7fc00001, 0x7f800001, -0x400001, 5); // as float32, NaNs of several kinds
  const copies = await each(async (world) => {
    const own = tensor('int32', [5], world.isFirst ? bits.slice() : new Int32Array(5));
    await world.broadcast([own]);
    return own.data;
  });
  expect(copies).toEqual(all.map(() => bits));
});

it('takes the state of whoever has come furthest, and says who was started otherwise', async () => {
  const all = await join(2);
  const places = [{ globalStep: 3 }, { globalStep: 5 }].map((place) => ({
    epoch: 0,
    stepInEpoch: place.globalStep,
    bestScore: null,
    ...place,
  }));
  const states = all.map(({ rank }) => ({
    values: tensor('float32', [2], Float32Array.of(rank, rank)),
    notes: { rank },
  }));
  const found = await Promise.all(
    all.map((world, i) => {
      const state = states[i]!;
      const stage = {
        state: () => ({ tensors: [['values', state.values] as const], notes: state.notes }),
        restore: (_: unknown, notes: Readonly<Record<string, unknown>>) =>
          void (state.notes = notes as { rank: number }),
      };
      return synchronize(stage, world, places[i]);
    }),
  );
  expect(found).toEqual([places[1], places[1]]);
  expect(states.map(({ values, notes }) => [...values.data, notes.rank])).toEqual([
    [1, 1, 1],
    [1, 1, 1],
  ]);
  const identities = [4, 8].map((batchSize) => JSON.stringify({ settings: { batchSize }, data: 'a' }));
  for (const outcome of await Promise.allSettled(all.map((world, i) => agree(identities[i]!, world)))) {
    expect(outcome).toMatchObject({
      status: 'rejected',
      reason: {
        code: 'failed_precondition',
        message: 'rank 1 must be started like rank 0: it has other settings (batchSize 4, now 8)',
      },
    });
  }
});
