import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { bindToCoreShare, coreShare } from './core-share.ts';
import { nativeCalls } from './native-calls.ts';

const cores = (count: number): number[] => Array.from({ length: count }, (_, core) => core);
const oneSocket = (core: number) => ({ socket: 0, core });

it.each([
  [8, 2, [cores(4), [4, 5, 6, 7]]],
  [5, 2, [cores(2), [2, 3, 4]]],
  [2, 4, [[0], [0], [1], [1]]],
  [1, 3, [[0], [0], [0]]],
])('%i cores for %i processes', (count, processes, shares) => {
  expect(shares.map((_, index) => coreShare(cores(count), oneSocket, index, processes))).toEqual(shares);
});

it('gives every core to one process, and leaves logical cores of one core together', () => {
  // Two sockets of four cores of two threads each, numbered as Linux does: first threads first, sockets in turns.
  const placeOf = (core: number) => ({ socket: core % 2, core: (core >> 1) % 4 });
  const shares = cores(8).map((index) => coreShare(cores(16), placeOf, index, 8));
  expect(shares.flat().sort((a, b) => a - b)).toEqual(cores(16));
  for (const share of shares) {
    expect(share).toHaveLength(2);
    expect(placeOf(share[0]!)).toEqual(placeOf(share[1]!));
  }
  expect(
    shares
      .slice(0, 4)
      .flat()
      .every((core) => placeOf(core).socket === 0),
  ).toBe(true);
});

it.each([
  [0, 0, 'count must be an integer ≥ 1; got 0'],
  [2, 2, 'index must be an integer in [0, 1]; got 2'],
  [0.5, 2, 'index must be an integer in [0, 1]; got 0.5'],
])('refuses share %d of %d', (index, count, message) => {
  expect(() => bindToCoreShare(index, count)).toThrow(message);
});

describe.skipIf(!nativeCalls())('a process', () => {
  it('keeps to its share, and so do threads that it starts', () => {
    const all = nativeCalls()!.cores();
    const module = fileURLToPath(new URL('./core-share.ts', import.meta.url));
    const program = `
      import { readFileSync } from 'node:fs';
      import { availableParallelism } from 'node:os';
      import { Worker } from 'node:worker_threads';
      import { bindToCoreShare } from ${JSON.stringify(module)};
      const share = bindToCoreShare(${all.length - 1}, ${all.length});
      const inThread = 'const { availableParallelism } = require("os"); require("worker_threads").parentPort.postMessage(availableParallelism())';
      const thread = new Worker(inThread, { eval: true, execArgv: [] });
      const ofThread = await new Promise((resolve) => thread.once('message', resolve));
      const allowed = /Cpus_allowed_list:\\s*(\\S+)/.exec(readFileSync('/proc/self/status', 'utf8'))[1];
      console.log(JSON.stringify({ share, ofProcess: availableParallelism(), ofThread, allowed }));`;
    const { stdout, stderr } = spawnSync(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', program], {
      encoding: 'utf8',
      cwd: fileURLToPath(new URL('../../../..', import.meta.url)),
    });
    const said = JSON.parse(stdout || JSON.stringify(stderr)) as { share: number[]; allowed: string };
    expect(said).toEqual({ share: [expect.any(Number)], ofProcess: 1, ofThread: 1, allowed: String(said.share?.[0]) });
    expect(all).toContain(said.share[0]);
    expect(nativeCalls()!.cores()).toEqual(all); // nobody else is bound
  });
});
