import { spawnSync } from 'node:child_process';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { killAll, startRanks } from './rank-processes.ts';

// Two hosts: network namespaces joined by a cable that can be pulled. Needs the right to make them.
const [A, B] = [`clip-gen-a-${process.pid}`, `clip-gen-b-${process.pid}`];
const [CABLE_A, CABLE_B] = [`cga${process.pid}`, `cgb${process.pid}`];
const ip = (...words: string[]): boolean => spawnSync('ip', words).status === 0;
const isAllowed = ip('netns', 'add', A) && ip('netns', 'add', B);

describe.skipIf(!isAllowed)('between two hosts', () => {
  beforeAll(() => {
    const steps = [
      ip('link', 'add', CABLE_A, 'netns', A, 'type', 'veth', 'peer', 'name', CABLE_B, 'netns', B),
      ip('-n', A, 'addr', 'add', '10.231.7.1/24', 'dev', CABLE_A),
      ip('-n', B, 'addr', 'add', '10.231.7.2/24', 'dev', CABLE_B),
      ip('-n', A, 'link', 'set', CABLE_A, 'up'),
      ip('-n', B, 'link', 'set', CABLE_B, 'up'),
      ip('-n', A, 'link', 'set', 'lo', 'up'),
      ip('-n', B, 'link', 'set', 'lo', 'up'),
    ];
    expect(steps).toEqual(steps.map(() => true));
  });
  afterEach(killAll);
  afterAll(() => {
    ip('netns', 'del', A);
    ip('netns', 'del', B);
  });

  it('reduces, and ends every call when the cable is pulled', async () => {
    const ranks = await startRanks(
      3,
      { rendezvous: '10.231.7.1:29500', heartbeatTimeoutMs: 3000, timeoutMs: 60_000 },
      (rank) => ['ip', 'netns', 'exec', rank === 2 ? B : A],
    );
    for (const rank of ranks) rank.command('reduce 100000');
    for (const rank of ranks) expect(await rank.next()).toEqual({ result: 3, exact: true });
    expect(ip('-n', B, 'link', 'set', CABLE_B, 'down')).toBe(true);
    for (const rank of ranks) rank.command('reduce 100000');
    const errors = await Promise.all(ranks.map((rank) => rank.next()));
    expect(errors[0]).toMatchObject({ code: 'unavailable', error: expect.stringContaining('rank 2') });
    expect(errors[1]).toMatchObject({ code: 'unavailable', error: expect.stringContaining('rank 2') });
    expect(errors[2]).toMatchObject({ code: 'unavailable', error: expect.stringContaining('rank 2 is cut off') });
  });
});
