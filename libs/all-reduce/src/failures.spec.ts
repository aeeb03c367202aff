import { readdirSync } from 'node:fs';
import { afterEach, expect, it } from 'vitest';
import { killAll, startRanks } from './rank-processes.ts';

afterEach(killAll);

it.each(['auto', 'tcp'] as const)(
  'ends every call when a rank is killed (%s), and leaves nothing behind',
  async (transport) => {
    const ranks = await startRanks(3, { transport, heartbeatTimeoutMs: 20_000, timeoutMs: 60_000 });
    for (const rank of ranks) rank.command('reduce 100000');
    for (const rank of ranks) expect(await rank.next()).toEqual({ result: 3, exact: true });
    for (const rank of [ranks[0]!, ranks[1]!]) rank.command('loop 1000 1000000');
    ranks[2]!.child.kill('SIGKILL');
    const reports = await Promise.all([ranks[0]!, ranks[1]!].map((rank) => rank.next()));
    for (const report of reports) {
      expect(report).toMatchObject({ code: 'unavailable', error: expect.stringContaining('rank 2') });
      expect(report).toEqual({ ...reports[0], ms: expect.any(Number) });
    }
    for (const rank of [ranks[0]!, ranks[1]!]) rank.command('leave');
    expect(await Promise.all([ranks[0]!.ended, ranks[1]!.ended])).toEqual([0, 0]);
    const owners = ranks.map(({ child }) => `-${child.pid}-`);
    expect(readdirSync('/dev/shm').filter((name) => owners.some((owner) => name.includes(owner)))).toEqual([]);
  },
);

it('ends every call when a rank is stopped, and tells it when it goes on', async () => {
  const ranks = await startRanks(3, { heartbeatTimeoutMs: 3000, timeoutMs: 60_000 });
  ranks[1]!.child.kill('SIGSTOP');
  for (const rank of ranks) rank.command('reduce 1000');
  for (const rank of [ranks[0]!, ranks[2]!]) {
    expect(await rank.next()).toMatchObject({
      code: 'unavailable',
      error: 'rank 1 has not been heard of for 3000 ms: it is stopped or cut off',
    });
  }
  ranks[1]!.child.kill('SIGCONT');
  expect(await ranks[1]!.next()).toMatchObject({ code: 'unavailable', error: expect.stringContaining('rank 1') });
});

it('ends every call when rank 0, which keeps the store, is stopped', async () => {
  const ranks = await startRanks(2, { heartbeatTimeoutMs: 2000, timeoutMs: 60_000 });
  ranks[0]!.child.kill('SIGSTOP');
  ranks[1]!.command('reduce 1000');
  expect(await ranks[1]!.next()).toMatchObject({
    code: 'unavailable',
    error: expect.stringContaining('rank 0 has not been heard of for 2000 ms'),
  });
});

it('waits for a slow rank, and names the one that hangs', async () => {
  const ranks = await startRanks(3, { heartbeatTimeoutMs: 20_000, timeoutMs: 3000 });
  ranks[0]!.command('reduce 1000');
  ranks[1]!.command('reduce 1000');
  await new Promise((resolve) => setTimeout(resolve, 1000)); // slower than a heartbeat, quicker than the time-out
  ranks[2]!.command('reduce 1000');
  for (const rank of ranks) expect(await rank.next()).toEqual({ result: 3, exact: true });
  ranks[2]!.command('hang');
  ranks[0]!.command('reduce 1000');
  ranks[1]!.command('reduce 1000');
  for (const rank of [ranks[0]!, ranks[1]!]) {
    expect(await rank.next()).toMatchObject({
      code: 'deadline_exceeded',
      error: expect.stringMatching(/^rank 2 has made 1 calls; rank [01] has waited for rank \d in call 1 for 3000 ms$/),
    });
  }
});
