import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { bindToCoreShare, coreShare } from './core-share.ts';
import { nativeCalls } from './native-calls.ts';

const numbers = (count: number): number[] => Array.from({ length: count }, (_, number) => number);
const oneThreadEach = (processor: number) => ({ socket: 0, core: processor });

it.each([
  [8, 2, [numbers(4), [4, 5, 6, 7]]],
  [5, 2, [numbers(2), [2, 3, 4]]],
  [2, 4, [[0], [0], [1], [1]]],
  [1, 3, [[0], [0], [0]]],
])('%i cores for %i processes', (cores, processes, shares) => {
  expect(shares.map((_, index) => coreShare(numbers(cores), oneThreadEach, index, processes))).toEqual(shares);
});

it('gives out whole cores, socket after socket, and every one of them', () => {
  // Two sockets of four cores of two threads each, numbered as Linux does: first threads first, sockets in turns.
  const placeOf = (processor: number) => ({ socket: processor % 2, core: processor % 8 });
  for (const processes of [1, 3, 8]) {
    const shares = numbers(processes).map((index) => coreShare(numbers(16), placeOf, index, processes));
    expect(shares.flat().sort((a, b) => a - b)).toEqual(numbers(16));
    for (const share of shares) {
      for (const processor of share) expect(share).toContain((processor + 8) % 16);
    }
    const sockets = shares.flat().map((processor) => placeOf(processor).socket);
    expect(sockets).toEqual([...numbers(8).map(() => 0), ...numbers(8).map(() => 1)]);
  }
  const more = numbers(16).map((index) => coreShare(numbers(16), placeOf, index, 16));
  expect(more.every((share) => share.length === 1)).toBe(true);
  expect(new Set(more.flat()).size).toBe(16);
});

it.each([
  [0, 0, 'count must be an integer ≥ 1; got 0'],
  [2, 2, 'index must be an integer in [0, 1]; got 2'],
  [0.5, 2, 'index must be an integer in [0, 1]; got 0.5'],
])('refuses share %d of %d', (index, count, message) => {
  expect(() => bindToCoreShare(index, count)).toThrow(message);
});

const native = nativeCalls();
const allowed = native?.processors() ?? [];
const canBind = allowed.length > 0 && native!.bindThread(0, allowed); // to all that it has already

describe.skipIf(!canBind)('a process', () => {
  it('keeps to its share with all its threads, those that it has and those that it starts', () => {
    const module = fileURLToPath(new URL('./core-share.ts', import.meta.url));
    const program = `
      import { readdirSync, readFileSync } from 'node:fs';
      import { readFile } from 'node:fs/promises';
      import { Worker } from 'node:worker_threads';
      import { bindToCoreShare } from ${JSON.stringify(module)};
      await readFile('/dev/null'); // the pool of threads is there now
      const share = bindToCoreShare(${allowed.length - 1}, ${allowed.length});
      const thread = new Worker('setInterval(() => 0, 1000)', { eval: true, execArgv: [] });
      await new Promise((resolve) => thread.once('online', resolve));
      const threads = readdirSync('/proc/self/task').map((id) => readFileSync('/proc/self/task/' + id + '/status', 'utf8'));
      console.log(JSON.stringify({ share, lists: threads.map((text) => /Cpus_allowed_list:\\s*(\\S+)/.exec(text)[1]) }));
      process.exit();`;
    const words = ['--import', 'tsx', '--input-type=module', '-e', program];
    const cwd = fileURLToPath(new URL('../../../..', import.meta.url));
    const { stdout, stderr } = spawnSync(process.execPath, words, { encoding: 'utf8', cwd });
    expect(stdout, stderr).not.toBe('');
    const { share, lists } = JSON.parse(stdout) as { share: number[]; lists: string[] };
    expect(share).toHaveLength(1);
    expect(allowed).toContain(share[0]);
    expect(lists.length).toBeGreaterThan(5); // the first, the pool's four, the worker's and Node's own
    expect(new Set(lists)).toEqual(new Set([String(share[0])]));
    expect(native!.processors()).toEqual(allowed); // nobody else is bound
  });
});
