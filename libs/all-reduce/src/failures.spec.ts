import { spawn, type ChildProcessWithoutNullStreams } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { afterEach, expect, it } from 'vitest';
import type { JoinOptions } from './join-group.ts';
import type { RankReport } from './process-rank.ts';
import { freePort } from './socket-ranks.ts';

interface RankProcess {
  readonly child: ChildProcessWithoutNullStreams;
  command(line: string): void;
  next(): Promise<RankReport>;
  /** Resolves with the exit code. */
  readonly ended: Promise<number | null>;
}

const RUNNING: RankProcess[] = [];

afterEach(() => {
  for (const { child } of RUNNING.splice(0)) child.kill('SIGKILL');
});

async function start(worldSize: number, options: Partial<JoinOptions>): Promise<RankProcess[]> {
  const rendezvous = `127.0.0.1:${await freePort()}`;
  const ranks = Array.from({ length: worldSize }, (_, rank) =>
    startRank({ rank, worldSize, rendezvous, token: 'only for tests', ...options }),
  );
  for (const rank of ranks) expect(await rank.next()).toMatchObject({ joined: true });
  return ranks;
}

function startRank(options: JoinOptions): RankProcess {
  const script = new URL('./process-rank.ts', import.meta.url).pathname;
  const child = spawn(process.execPath, ['--import', 'tsx', script, JSON.stringify(options)]);
  child.stderr.pipe(process.stderr);
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const rank: RankProcess = {
    child,
    command: (line) => void child.stdin.write(`${line}\n`),
    next: async () => {
      const { value, done } = (await lines.next()) as IteratorResult<string, undefined>;
      return done ? { error: 'the process has ended', code: '', ms: 0 } : (JSON.parse(value) as RankReport);
    },
    ended: new Promise((resolve) => child.on('exit', resolve)),
  };
  RUNNING.push(rank);
  return rank;
}

const memoryFiles = (): string[] => readdirSync('/dev/shm').filter((name) => name.startsWith('clip-gen'));

it.each(['auto', 'tcp'] as const)(
  'ends every call when a rank is killed (%s), and leaves nothing behind',
  async (transport) => {
    const ranks = await start(3, { transport, heartbeatTimeoutMs: 20_000, timeoutMs: 60_000 });
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
    expect(memoryFiles()).toEqual([]);
  },
);

it('ends every call when a rank is stopped, and tells it when it goes on', async () => {
  const ranks = await start(3, { heartbeatTimeoutMs: 3000, timeoutMs: 60_000 });
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
  const ranks = await start(2, { heartbeatTimeoutMs: 2000, timeoutMs: 60_000 });
  ranks[0]!.child.kill('SIGSTOP');
  ranks[1]!.command('reduce 1000');
  expect(await ranks[1]!.next()).toMatchObject({
    code: 'unavailable',
    error: expect.stringContaining('rank 0 has not been heard of for 2000 ms'),
  });
});

it('waits for a slow rank, and names the one that hangs', async () => {
  const ranks = await start(3, { heartbeatTimeoutMs: 20_000, timeoutMs: 3000 });
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
