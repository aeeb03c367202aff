import { readdirSync } from 'node:fs';
import { expect, it } from 'vitest';
import { checkAllReduce, checkOthers, reducedOf, same, tensorOf } from './closed-forms.ts';
import type { Group } from './group.ts';
import { joinGroup, type JoinOptions } from './join-group.ts';
import { freePort } from './socket-ranks.ts';

/** Each rank with a communication thread of its own; all in this process. */
async function join(worldSize: number, options: (rank: number) => Partial<JoinOptions> = () => ({})): Promise<Group[]> {
  const rendezvous = `127.0.0.1:${await freePort()}`;
  return Promise.all(
    Array.from({ length: worldSize }, (_, rank) =>
      joinGroup({ rank, worldSize, rendezvous, token: 'only for tests', ...options(rank) }),
    ),
  );
}

const memoryFiles = (): string[] => readdirSync('/dev/shm').filter((name) => name.includes(`-${process.pid}-`));

it('reduces through shared memory, in place and copied, and frees it', async () => {
  const groups = await join(3, () => ({ stageBytes: 2 ** 17 }));
  expect(await groups[0]!.statistics()).toEqual({ bytesSent: 0, sharesMemory: true });
  for (const count of [0, 1, 7, 1000, 200_001]) {
    for (const op of ['sum', 'mean', 'max'] as const) await checkAllReduce(groups, count, { op });
    await checkAllReduce(groups, count, {}, true);
  }
  await checkOthers(groups, 1000);
  const memory = new WebAssembly.Memory({ initial: 2, maximum: 2 });
  await Promise.all(
    groups.map(async (group) => {
      // The trainer's tensors: views of an ordinary WebAssembly memory, here one stretch of it for each rank.
      const view = new Float32Array(memory.buffer, group.rank * 16384, 4096);
      view.set(tensorOf(group.rank, 4096));
      await group.allReduce([view.subarray(0, 5), view.subarray(5)]);
      expect(same(view, reducedOf(3, 4096, 'sum'))).toBe(true);
    }),
  );
  expect(memoryFiles()).toEqual([]); // the names are gone as soon as all have joined
  await Promise.all(groups.map((group) => group.close()));
  expect(() => groups[0]!.barrier()).toThrow('the group is closed; join again');
});

it('reduces between two hosts of two ranks that share memory', async () => {
  const groups = await join(4, (rank) => ({ hostId: rank < 2 ? 'a' : 'b' }));
  for (const count of [1, 1000, 100_003]) {
    await checkAllReduce(groups, count, { op: 'mean' });
    await checkAllReduce(groups, count, { wire: 'bfloat16' });
    await checkAllReduce(groups, count, { algorithm: 'ring' });
  }
  const statistics = await Promise.all(groups.map((group) => group.statistics()));
  expect(statistics[0]!.sharesMemory).toBe(true);
  await Promise.all(groups.map((group) => group.close()));
});

it.each(['unix', 'tcp'] as const)('reduces over %s', async (transport) => {
  const groups = await join(2, () => ({ transport }));
  expect((await groups[0]!.statistics()).sharesMemory).toBe(false);
  for (const count of [0, 1, 100_003]) await checkAllReduce(groups, count, {});
  await Promise.all(groups.map((group) => group.close()));
});

it('computes on while calls are under way', async () => {
  const groups = await join(2);
  const tensors = groups.map(() => new Float32Array(1_000_003).fill(1));
  const calls = groups.flatMap((group, rank) => [group.allReduce(tensors[rank]!), group.allReduce(tensors[rank]!)]);
  let settled = false;
  void Promise.all(calls).then(() => (settled = true));
  const until = performance.now() + 200;
  while (performance.now() < until); // nothing of this thread is needed
  expect(settled).toBe(false);
  await Promise.all(calls);
  for (const tensor of tensors) expect(tensor.every((x) => x === 4)).toBe(true);
  await Promise.all(groups.map((group) => group.close()));
});

it('lets one rank leave while another still computes, and tells whoever still needs it', async () => {
  const groups = await join(2, () => ({ timeoutMs: 30_000 }));
  await checkAllReduce(groups, 10, {});
  await groups[1]!.close();
  const late = groups[0]!.allReduce(new Float32Array(10));
  await expect(late).rejects.toMatchObject({ code: 'unavailable', message: 'rank 1 has left the group' });
  await groups[0]!.close();
});

it('tells all ranks of calls that do not fit, and of an abort', async () => {
  const first = await join(2);
  const calls = [first[0]!.allReduce(new Float32Array(3)), first[1]!.barrier()];
  for (const call of calls) await expect(call).rejects.toMatchObject({ message: expect.stringContaining('barrier') });
  await Promise.all(first.map((group) => group.close()));
  const second = await join(2, () => ({ epoch: 1 }));
  const pending = second[0]!.barrier();
  second[1]!.abort('no more paper');
  await expect(pending).rejects.toMatchObject({
    code: 'cancelled',
    message: 'rank 1 has aborted the group: no more paper',
  });
  await Promise.all(second.map((group) => group.close()));
});

it('refuses options out of range, before anything is started', async () => {
  const good: JoinOptions = { rank: 0, worldSize: 2, rendezvous: '127.0.0.1:2', token: 'only for tests' };
  for (const [options, words] of [
    [{ rank: 2 }, 'rank must be an integer in [0, 1]; got 2'],
    [{ worldSize: 0 }, 'worldSize must be an integer in [1, 1024]; got 0'],
    [{ token: 'short' }, 'token must be a string of at least 8 characters; got "5 characters"'],
    [{ rendezvous: 'here' }, 'rendezvous must be host:port with a port in [1, 65535]; got "here"'],
    [{ transport: 'pigeon' as 'tcp' }, 'transport must be one of auto, shared-memory, unix, tcp; got "pigeon"'],
    [{ timeoutMs: 5 }, 'timeoutMs must be an integer in [100, 2147483647]; got 5'],
    [{ sharedBytes: -1 }, 'sharedBytes must be a number of bytes in [0, 3221225472]; got -1'],
  ] as const) {
    await expect(joinGroup({ ...good, ...options })).rejects.toThrow(words);
  }
});

it('is at once a group of one', async () => {
  const group = await joinGroup({ rank: 0, worldSize: 1, rendezvous: '127.0.0.1:2', token: 'only for tests' });
  await checkAllReduce([group], 1000, { op: 'mean' });
  await checkOthers([group], 7);
  await group.close();
});
