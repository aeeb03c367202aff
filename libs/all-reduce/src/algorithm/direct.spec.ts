import { expect, it } from 'vitest';
import { same } from '../closed-forms.ts';
import { createMemory, memorySizes, WorkMemory } from '../memory/work-memory.ts';
import { SharedRegions } from '../transport/shared-regions.ts';
import { reduceShares } from './direct.ts';
import { slices } from './exchange.ts';

const RANKS = 3;
const COUNT = 200_000;
const signature = new Uint8Array(32);

/** Three ranks that have announced a tensor each and met. */
async function announced() {
  const sizes = memorySizes(2 ** 20, 0);
  const memory = createMemory(sizes, RANKS, RANKS);
  const ranks = Array.from({ length: RANKS }, (_, region) => {
    const work = new WorkMemory(memory, sizes, region, { count: RANKS, index: region });
    return new SharedRegions(work, [0, 1, 2], undefined, (failure) => expect.fail(failure.message));
  });
  const tensors = ranks.map(({ memory: work }) => new Float32Array(memory.buffer, work.stage(0), COUNT));
  // Sums that depend on their order.
  for (const [r, tensor] of tensors.entries()) for (let i = 0; i < COUNT; i++) tensor[i] = 2 ** ((r * 7 + i) % 25) / 3;
  for (const rank of ranks) {
    const offset = rank.memory.stage(0) - rank.memory.regionStart(rank.memory.region);
    rank.announce({ signature, offset, whole: true });
  }
  await Promise.all(ranks.map((rank) => rank.meet()));
  const places = await Promise.all(ranks.map((rank) => rank.places(signature)));
  return { ranks, places, tensors };
}

const parts = slices(COUNT, RANKS);
const arithmetic = { combine: 'add', factor: 1 } as const;

it('sums the same bits whoever takes the shares', async () => {
  const alone = await announced();
  expect(reduceShares(alone.ranks[1]!, alone.places[1]!, parts, arithmetic)).toBe(true);
  const together = await announced();
  // In turns, a few shares at a time.
  const working = new Set([2, 0, 1]);
  while (working.size > 0) {
    for (const rank of working) {
      if (reduceShares(together.ranks[rank]!, together.places[rank]!, parts, arithmetic, 1)) working.delete(rank);
    }
  }
  for (const { tensors } of [alone, together]) {
    for (const tensor of tensors) expect(same(tensor, alone.tensors[0]!)).toBe(true);
  }
  const first = (r: number, i: number): number => Math.fround(2 ** ((r * 7 + i) % 25) / 3);
  expect(alone.tensors[0]![5]).toBe(Math.fround(Math.fround(first(0, 5) + first(1, 5)) + first(2, 5)));
  const last = COUNT - 1; // the slice of rank 2 begins with its own part
  expect(alone.tensors[0]![last]).toBe(Math.fround(Math.fround(first(2, last) + first(0, last)) + first(1, last)));
});

it('does nothing when every share is taken', async () => {
  const { ranks, places, tensors } = await announced();
  reduceShares(ranks[0]!, places[0]!, parts, arithmetic);
  const sums = tensors[2]!.slice();
  expect(reduceShares(ranks[2]!, places[2]!, parts, arithmetic)).toBe(true);
  expect(same(tensors[2]!, sums)).toBe(true);
});
