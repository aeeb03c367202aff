import { spawn, type ChildProcessWithoutNullStreams } from 'node:child_process';
import { createInterface } from 'node:readline';
import { ClipGenError } from '@clip-gen/errors';
import type { JoinOptions } from './join-group.ts';
import type { RankReport } from './process-rank.ts';
import { freePort } from './socket-ranks.ts';

/** A rank in a process of its own, for tests: `process-rank.ts`. */
export interface RankProcess {
  readonly child: ChildProcessWithoutNullStreams;
  command(line: string): void;
  next(): Promise<RankReport>;
  /** Resolves with the exit code. */
  readonly ended: Promise<number | null>;
}

const RUNNING: RankProcess[] = [];

/** Ends every process that was started here. */
export function killAll(): void {
  for (const { child } of RUNNING.splice(0)) child.kill('SIGKILL');
}

/**
 * Starts all ranks of a group and waits until they have joined.
 *
 * @param commandOf what runs a rank's process, in front of it: `ip netns exec …`
 */
export async function startRanks(
  worldSize: number,
  options: Partial<JoinOptions>,
  commandOf: (rank: number) => readonly string[] = () => [],
): Promise<RankProcess[]> {
  const rendezvous = `127.0.0.1:${await freePort()}`;
  const ranks = Array.from({ length: worldSize }, (_, rank) =>
    startRank({ rank, worldSize, rendezvous, token: 'only for tests', ...options }, commandOf(rank)),
  );
  for (const rank of ranks) {
    const report = await rank.next();
    if (!('joined' in report)) throw new ClipGenError('internal', `a rank did not join: ${JSON.stringify(report)}`);
  }
  return ranks;
}

function startRank(options: JoinOptions, before: readonly string[]): RankProcess {
  const script = new URL('./process-rank.ts', import.meta.url).pathname;
  const words = [...before, process.execPath, '--import', 'tsx', script, JSON.stringify(options)];
  const [command = process.execPath, ...rest] = words;
  const child = spawn(command, rest);
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
