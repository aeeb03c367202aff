import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { temporaryFolder } from '@clip-gen/testing';
import { beforeEach, expect, it } from 'vitest';
import { OutLock } from './out-lock.ts';

let folder: string;
let path: string;
beforeEach(async () => {
  folder = await temporaryFolder();
  path = join(folder, 'training.lock');
});

const writeLock = (pid: number, host = hostname()): Promise<void> =>
  writeFile(path, JSON.stringify({ pid, host, run: 'another' }));

/** The number of a process that has ended. */
async function endedProcess(): Promise<number> {
  const child = spawn(process.execPath, ['-e', '']);
  await new Promise((resolve) => child.once('close', resolve));
  return child.pid!;
}

it('is held by one at a time, and gone when released', async () => {
  const lock = await OutLock.acquire(folder);
  const refusal = {
    code: 'failed_precondition',
    message: expect.stringContaining(`in use by process ${process.pid}:`),
  };
  await expect(OutLock.acquire(folder)).rejects.toMatchObject(refusal);
  await expect(OutLock.check(folder)).rejects.toMatchObject(refusal);
  await lock.release();
  expect(await readdir(folder)).toEqual([]);
  await (await OutLock.acquire(folder)).release();
});

it('is respected while its process runs, or when that is on another machine', async () => {
  await writeLock(process.ppid);
  await expect(OutLock.acquire(folder)).rejects.toThrow(`in use by process ${process.ppid}:`);
  await writeLock(7, 'elsewhere');
  await expect(OutLock.acquire(folder)).rejects.toThrow('in use by process 7 on elsewhere:');
  expect(await readdir(folder)).toEqual(['training.lock']);
});

it('is taken over from a process that has ended, from an earlier one of this number, and when damaged', async () => {
  for (const leave of [
    async () => writeLock(await endedProcess()),
    () => writeLock(process.pid),
    () => writeFile(path, 'not a lock'),
  ]) {
    await leave();
    const lock = await OutLock.acquire(folder);
    await expect(OutLock.check(folder)).rejects.toThrow(`process ${process.pid}`);
    await lock.release();
  }
});

it('lets one of several have it', async () => {
  await writeLock(await endedProcess());
  const all = await Promise.allSettled([1, 2, 3, 4].map(() => OutLock.acquire(folder)));
  expect(all.filter(({ status }) => status === 'fulfilled').length).toBeLessThanOrEqual(1);
  expect((await readdir(folder)).filter((name) => name.endsWith('.tmp'))).toEqual([]);
});

it('clears away what interrupted writes left, and nothing else, once it is held', async () => {
  await mkdir(join(folder, 'best'));
  const left = ['.model.safetensors.12.ab.tmp', 'config.json.12.tmp', 'best/tokenizer.json.3.tmp'];
  const kept = ['model.safetensors', 'notes.tmp'];
  for (const name of [...left, ...kept]) await writeFile(join(folder, name), '');
  await writeLock(process.ppid);
  await expect(OutLock.acquire(folder)).rejects.toThrow();
  expect(left.every((name) => existsSync(join(folder, name)))).toBe(true);
  await writeLock(await endedProcess());
  const lock = await OutLock.acquire(folder);
  expect(left.some((name) => existsSync(join(folder, name)))).toBe(false);
  expect(kept.every((name) => existsSync(join(folder, name)))).toBe(true);
  await lock.release();
});

it('changes nothing by a check', async () => {
  await OutLock.check(join(folder, 'none'));
  expect(await readdir(folder)).toEqual([]);
});
