import { afterEach, expect, it } from 'vitest';
import { killAll, startRanks } from './rank-processes.ts';

afterEach(killAll);

it.each(['SIGKILL', 'SIGSTOP'] as const)(
  'gives no partial sums when %s comes while lent memory is summed',
  async (signal) => {
    const ranks = await startRanks(3, { heartbeatTimeoutMs: 3000, timeoutMs: 60_000 });
    for (const rank of ranks) rank.command('lent 3000000 1000000');
    await new Promise((resolve) => setTimeout(resolve, 500)); // they are at it
    ranks[1]!.child.kill(signal);
    const left = [ranks[0]!, ranks[2]!];
    for (const report of await Promise.all(left.map((rank) => rank.next()))) {
      expect(report).toMatchObject({ code: 'unavailable', error: expect.stringContaining('rank 1') });
    }
    for (const rank of left) rank.command('leave');
    expect(await Promise.all(left.map((rank) => rank.ended))).toEqual([0, 0]);
  },
);
