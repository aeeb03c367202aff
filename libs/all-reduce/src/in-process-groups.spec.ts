import { expect, it } from 'vitest';
import { checkAllReduce, checkOthers, reducedOf, same, tensorOf } from './closed-forms.ts';
import { inProcessGroups } from './in-process-groups.ts';

const RANKS = [1, 2, 3, 4, 5, 6, 7, 8];
const COUNTS = [0, 1, 7, 1000];
const ALGORITHMS = ['auto', 'ring', 'tree', 'hierarchical'] as const;

/** Two hosts of unequal size, one rank after the other. */
const twoHosts = (ranks: number): string[] => Array.from({ length: ranks }, (_, rank) => (rank % 3 === 0 ? 'a' : 'b'));

it.each(RANKS)('reduces over %i ranks that exchange frames', async (ranks) => {
  const groups = inProcessGroups(ranks, { sharesMemory: false, hosts: twoHosts(ranks), stageBytes: 65536 });
  for (const count of COUNTS) {
    for (const algorithm of ALGORITHMS) {
      for (const wire of ['float32', 'bfloat16', 'float16'] as const) {
        for (const op of ['sum', 'mean', 'max'] as const) await checkAllReduce(groups, count, { algorithm, wire, op });
      }
    }
  }
});

it.each(RANKS)('reduces over %i ranks that share memory', async (ranks) => {
  for (const hosts of [undefined, twoHosts(ranks)]) {
    const groups = inProcessGroups(ranks, { hosts });
    for (const count of COUNTS) {
      for (const op of ['sum', 'mean', 'max'] as const) await checkAllReduce(groups, count, { op });
      await checkAllReduce(groups, count, {}, true);
      await checkAllReduce(groups, count, { wire: 'bfloat16', algorithm: 'hierarchical' });
    }
  }
});

it.each([
  ['frames', { sharesMemory: false }],
  ['shared memory', {}],
  ['both', { hosts: ['a', 'a', 'b', 'b'] }],
])('reduces many elements in many segments: %s', async (_, options) => {
  const groups = inProcessGroups(4, { ...options, stageBytes: 2 ** 18 });
  await checkAllReduce(groups, 1_000_003, {});
  await checkAllReduce(groups, 1_000_003, { op: 'mean' }, true);
  await checkAllReduce(groups, 1_000_003, { algorithm: 'tree', wire: 'bfloat16' });
  await checkAllReduce(groups, 1_000_003, { algorithm: 'ring', wire: 'float16' });
});

it.each([1, 2, 5, 8])('scatters, gathers and broadcasts over %i ranks', async (ranks) => {
  const groups = inProcessGroups(ranks, { stageBytes: 65536 });
  for (const count of [0, 1, 7, 1000, 50_000]) await checkOthers(groups, count);
});

it('reduces a list of tensors in one call, in place, staged and mixed', async () => {
  const sizes = [3, 100_000, 0, 17, 70_000, 1];
  const groups = inProcessGroups(3, { stageBytes: 65536 });
  await Promise.all(
    groups.map(async (group) => {
      const tensors: Float32Array[] = [];
      for (const [index, size] of sizes.entries()) {
        const tensor = (index + group.rank) % 2 === 0 ? await group.allocate(size) : new Float32Array(size);
        tensor.set(tensorOf(group.rank, size));
        tensors.push(tensor);
      }
      await group.allReduce(tensors);
      for (const [index, size] of sizes.entries()) expect(same(tensors[index]!, reducedOf(3, size, 'sum'))).toBe(true);
    }),
  );
});

it('keeps several calls in flight in their order', async () => {
  const groups = inProcessGroups(4, { stageBytes: 65536 });
  const tensors = groups.map(() => new Float32Array(5000).fill(1));
  const done: number[][] = groups.map(() => []);
  await Promise.all(
    groups.flatMap((group, rank) =>
      Array.from({ length: 6 }, async (_, call) => {
        await group.allReduce(tensors[rank]!, { algorithm: call % 2 ? 'tree' : 'auto' });
        done[rank]!.push(call);
      }),
    ),
  );
  expect(done).toEqual(groups.map(() => [0, 1, 2, 3, 4, 5]));
  for (const tensor of tensors) expect(same(tensor, new Float32Array(5000).fill(4 ** 6))).toBe(true);
});

it('gives the same bits again and after a long loop', async () => {
  const uneven = (rank: number): Float32Array => Float32Array.from({ length: 3001 }, (_, i) => Math.sin(i + rank) / 3);
  for (const options of [{ sharesMemory: true }, { sharesMemory: false }]) {
    const groups = inProcessGroups(5, options);
    const round = async (): Promise<Float32Array[]> =>
      Promise.all(
        groups.map(async (group) => {
          const tensor = uneven(group.rank);
          await group.allReduce(tensor);
          return tensor;
        }),
      );
    const first = await round();
    for (let i = 0; i < 100; i++) await round();
    const last = await round();
    for (const tensor of [...first, ...last]) expect(same(tensor, first[0]!)).toBe(true);
  }
});

it.each([
  ['sizes', { length: 6 }, {}, 'call 0, all-reduce (sum, float32 on the wire) of 6 elements in 1 tensor'],
  ['wire formats', { length: 5 }, { wire: 'bfloat16' }, 'all-reduce (sum, bfloat16 on the wire) of 5 elements'],
  ['operations', { length: 5 }, { op: 'max' }, 'all-reduce (max, float32 on the wire)'],
] as const)('tells all ranks of different %s', async (_, { length }, options, words) => {
  for (const sharesMemory of [true, false]) {
    const groups = inProcessGroups(3, { sharesMemory });
    const calls = groups.map((group) =>
      group.rank === 1 ? group.allReduce(new Float32Array(length), options) : group.allReduce(new Float32Array(5)),
    );
    for (const call of calls) {
      await expect(call).rejects.toMatchObject({ code: 'invalid_argument', message: expect.stringContaining(words) });
    }
    const messages = await Promise.all(calls.map((call) => call.catch((error: Error) => error.message)));
    expect(new Set(messages).size).toBe(1);
    expect(messages[0]).toContain('rank 1');
    expect(() => groups[0]!.barrier()).toThrow(words);
  }
});

it('ends every pending call when a rank aborts', async () => {
  const groups = inProcessGroups(3);
  const calls = groups.slice(0, 2).map((group) => group.allReduce(new Float32Array(10)));
  groups[2]!.abort('out of paper');
  for (const call of calls) {
    await expect(call).rejects.toMatchObject({
      code: 'cancelled',
      message: 'rank 2 has aborted the group: out of paper',
    });
  }
  expect(groups[0]!.failure?.rank).toBe(2);
});

it('refuses what cannot be', async () => {
  const [group] = inProcessGroups(2, { sharedBytes: 65536 });
  const tensor = new Float32Array(4);
  expect(() => group!.broadcast(tensor, { root: 2 })).toThrow('root must be a rank in [0, 2); got 2');
  expect(() => group!.allReduce(tensor, { op: 'min' as 'max' })).toThrow('op must be one of sum, mean, max; got "min"');
  expect(() => group!.allGather(tensor, tensor)).toThrow(
    'output must be of worldSize · input.length = 8 elements; got 4',
  );
  expect(() => group!.allReduce(new Float64Array(4) as unknown as Float32Array[])).toThrow('a Float32Array');
  await expect(group!.allocate(20_000)).rejects.toThrow('allocate needs 80000 bytes and 65536 are left');
  await expect(group!.allocate(-1)).rejects.toThrow('elements must be an integer ≥ 0; got -1');
  expect(() => inProcessGroups(0)).toThrow('worldSize must be an integer ≥ 1; got 0');
  expect(() => inProcessGroups(8, { sharedBytes: 2 ** 30 })).toThrow('lower sharedBytes');
});
