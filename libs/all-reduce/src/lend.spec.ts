import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { reducedOf, same, tensorOf } from './closed-forms.ts';
import type { Group } from './group.ts';
import { joinGroup, type JoinOptions } from './join-group.ts';
import { freePort } from './socket-ranks.ts';

const RANKS = 3;
const COUNT = 100_003;

/** Each rank with a communication thread of its own; all in this process. */
async function join(options: Partial<JoinOptions> = {}): Promise<Group[]> {
  const rendezvous = `127.0.0.1:${await freePort()}`;
  const ranks = Array.from({ length: RANKS }, (_, rank) => rank);
  return Promise.all(
    ranks.map((rank) => joinGroup({ rank, worldSize: RANKS, rendezvous, token: 'only for tests', ...options })),
  );
}

/** Mappings of groups' files in this process. */
const mappings = (): number =>
  readFileSync('/proc/self/maps', 'utf8')
    .split('\n')
    .filter((line) => line.includes('/dev/shm/clip-gen-')).length;

/** A memory with a tensor in its middle, from the middle of a page on. */
function ownMemory(maximum = 16) {
  const memory = new WebAssembly.Memory({ initial: 16, maximum });
  const all = new Float32Array(memory.buffer).fill(7);
  const start = 3 * 16384 + 25;
  return { memory, all, start, tensor: all.subarray(start, start + COUNT) };
}

/** Whether nothing but the tensor has changed. */
const neighboursStay = ({ all, start }: Pick<ReturnType<typeof ownMemory>, 'all' | 'start'>): boolean =>
  all.every((x, i) => x === 7 || (i >= start && i < start + COUNT));

it.skipIf(process.platform !== 'linux')('reduces lent memory where it lies, group after group', async () => {
  const own = Array.from({ length: RANKS }, ownMemory);
  for (const epoch of [0, 1]) {
    const groups = await join({ epoch });
    const before = mappings();
    for (const { tensor } of own) tensor.fill(epoch + 1);
    expect(await Promise.all(groups.map((group) => group.lend(own[group.rank]!.tensor)))).toEqual([true, true, true]);
    expect(mappings()).toBe(before + RANKS);
    for (const { tensor } of own) expect(tensor.every((x) => x === epoch + 1)).toBe(true);
    await Promise.all(
      groups.map(async (group) => {
        const { tensor } = own[group.rank]!;
        tensor.set(tensorOf(group.rank, COUNT));
        await group.allReduce(tensor, { op: 'max' });
        expect(same(tensor, reducedOf(RANKS, COUNT, 'max'))).toBe(true);
        // Views of it, and beside other tensors.
        tensor.set(tensorOf(group.rank, COUNT));
        const other = tensorOf(group.rank, 1000);
        await Promise.all([group.allReduce(tensor.subarray(0, 31)), group.allReduce([tensor.subarray(31), other])]);
        expect(same(other, reducedOf(RANKS, 1000, 'sum'))).toBe(true);
      }),
    );
    for (const memory of own) {
      expect(same(memory.tensor, reducedOf(RANKS, COUNT, 'sum'))).toBe(true);
      expect(neighboursStay(memory)).toBe(true);
    }
    await Promise.all(groups.map((group) => group.close()));
    expect(mappings()).toBe(0);
    for (const memory of own) {
      expect(same(memory.tensor, reducedOf(RANKS, COUNT, 'sum'))).toBe(true);
      expect(neighboursStay(memory)).toBe(true);
    }
  }
});

it.skipIf(process.platform !== 'linux')('lends no page twice', async () => {
  const [groups, others] = [await join(), await join()];
  const [group, other] = [groups[0]!, others[0]!];
  const before = mappings();
  const { all, start, tensor } = ownMemory();
  const twice = [group.lend(tensor), group.lend(tensor)];
  expect(await Promise.all(twice)).toEqual([true, false]); // the second came before the first was through
  expect(await group.lend(tensor)).toBe(true);
  expect(await group.lend(tensor.subarray(5, 90))).toBe(true);
  expect(await group.lend(all.subarray(start + COUNT, start + COUNT + 9))).toBe(false);
  expect(await group.lend(all.subarray(0, start - 1))).toBe(false);
  expect(await other.lend(tensor)).toBe(false);
  expect(mappings()).toBe(before + 1);
  await Promise.all(groups.map((one) => one.close()));
  expect(await other.lend(tensor)).toBe(true);
  // Neither are pages that others may have a part of.
  expect(await other.lend(new Float32Array(2 ** 20))).toBe(false);
  await Promise.all(others.map((one) => one.close()));
  expect(all.every((x) => x === 7)).toBe(true);
});

it.skipIf(process.platform !== 'linux')('hides nothing from readers while it closes', async () => {
  const groups = await join();
  const { buffer } = new WebAssembly.Memory({ initial: 512, maximum: 512 });
  const tensor = new Float32Array(buffer).fill(7);
  const before = mappings();
  expect(await groups[2]!.lend(tensor)).toBe(true);
  const closing = groups[2]!.close();
  const last = tensor.length - 1;
  let lowest = 7;
  for (let isMapped = true; isMapped;) {
    isMapped = mappings() > before;
    for (let i = 0; i < 10_000; i++) lowest = Math.min(lowest, tensor[last]!);
  }
  expect(lowest).toBe(7);
  await closing;
  await Promise.all(groups.map((group) => group.close()));
  expect(tensor.every((x) => x === 7)).toBe(true);
});

it('leaves memory alone that has grown although it was lent', async () => {
  const groups = await join();
  const own = ownMemory(17);
  await groups[0]!.lend(own.tensor);
  own.memory.grow(1);
  const grown = new Float32Array(own.memory.buffer);
  const tensors = groups.map(({ rank }) =>
    rank === 0 ? grown.subarray(own.start, own.start + COUNT) : tensorOf(rank, COUNT),
  );
  tensors[0]!.set(tensorOf(0, COUNT));
  await Promise.all(groups.map((group) => group.allReduce(tensors[group.rank]!)));
  await Promise.all(groups.map((group) => group.close()));
  for (const tensor of tensors) expect(same(tensor, reducedOf(RANKS, COUNT, 'sum'))).toBe(true);
  expect(neighboursStay({ ...own, all: grown.subarray(0, 16 * 16384) })).toBe(true);
});

it('gives lent memory back after a failure', async () => {
  const groups = await join();
  const own = Array.from({ length: RANKS }, ownMemory);
  await Promise.all(groups.map((group) => group.lend(own[group.rank]!.tensor)));
  const reduced = groups.slice(1).map((group) => group.allReduce(own[group.rank]!.tensor));
  groups[0]!.abort('enough');
  for (const call of reduced) await expect(call).rejects.toMatchObject({ code: 'cancelled' });
  await Promise.all(groups.map((group) => group.close()));
  expect(own.every(neighboursStay)).toBe(true);
  expect(own[0]!.tensor.every((x) => x === 7)).toBe(true);
});

it('reduces as before what cannot be lent', async () => {
  const [unshared, small] = [await join({ transport: 'tcp' }), await join({ sharedBytes: 65536 })];
  for (const groups of [unshared, small]) {
    await Promise.all(
      groups.map(async (group) => {
        const { tensor } = ownMemory();
        expect(await group.lend(tensor)).toBe(false);
        tensor.set(tensorOf(group.rank, COUNT));
        await group.allReduce(tensor);
        expect(same(tensor, reducedOf(RANKS, COUNT, 'sum'))).toBe(true);
        await expect(group.lend(new Float32Array(1000))).rejects.toThrow(
          'tensor must be a view of a WebAssembly memory that is not shared; got "4000 bytes of other memory"',
        );
      }),
    );
    await Promise.all(groups.map((group) => group.close()));
  }
});
