import { spawn, type ChildProcess } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { temporaryFolder } from '@clip-gen/testing';
import { afterEach, expect, it } from 'vitest';
import { TINY_CLIP, writePictures } from '../tiny-trainings.ts';

const CLI = fileURLToPath(new URL('../../../cli/bin/clip-gen.js', import.meta.url));
const SLOW = 120_000;

let launcher: ChildProcess | undefined;
afterEach(() => launcher?.kill('SIGKILL'));

/** What a line of a status file says. */
function statusOf(path: string, name: string): string | undefined {
  try {
    return new RegExp(`^${name}:\\s*(\\S+)`, 'm').exec(readFileSync(`/proc/${path}/status`, 'utf8'))?.[1];
  } catch {
    return undefined; // it has ended
  }
}

/** The command line of a process. */
function wordsOf(pid: string): string[] {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
  } catch {
    return [];
  }
}

it.skipIf(process.platform !== 'linux')(
  'keeps each process of --nproc to its cores with --bind, and stops all of them',
  async () => {
    const pictures = await temporaryFolder();
    await writePictures(pictures, 13);
    const settings = { model: TINY_CLIP, vocabularySize: 514, batchSize: 2, validationFraction: 0.3, epochs: 50_000 };
    const words = [
      ...['train', 'clip', '--data', pictures, '--out', join(await temporaryFolder(), 'clip')],
      ...['--nproc', '2', '--bind'],
      ...Object.entries(settings).flatMap(([name, value]) => ['--set', `${name}=${JSON.stringify(value)}`]),
    ];
    launcher = spawn(process.execPath, [CLI, ...words], { stdio: ['ignore', 'pipe', 'pipe'] });
    const { stdout, stderr, pid } = launcher;
    let printed = '';
    const trains = new Promise<void>((resolve, reject) => {
      for (const stream of [stdout!, stderr!]) {
        stream.on('data', (text: Buffer) => {
          printed += String(text);
          if (printed.includes('epoch 2/')) resolve();
        });
      }
      launcher!.once('close', (code) => reject(new Error(`ended with ${code}: ${printed}`)));
    });
    await trains;
    // Not only its children: the compiler may be one.
    const isRank = (id: string): boolean => statusOf(id, 'PPid') === String(pid) && wordsOf(id).includes('--bind');
    const ranks = readdirSync('/proc').filter((id) => /^\d+$/.test(id) && isRank(id));
    const cores = ranks.map((id) => {
      const threads = readdirSync(`/proc/${id}/task`);
      return [...new Set(threads.map((thread) => statusOf(`${id}/task/${thread}`, 'Cpus_allowed_list')))];
    });
    const ended = new Promise((resolve) => launcher!.once('close', resolve));
    launcher.kill('SIGTERM');
    expect(await ended, printed).toBe(75);

    expect(ranks).toHaveLength(2);
    expect(printed).toContain(`clip: 2 processes train together`);
    if (printed.includes('clip: --bind does nothing: a process cannot choose its cores here')) return;
    expect(cores).toEqual([[expect.any(String)], [expect.any(String)]]); // all threads alike
    const all = statusOf('self', 'Cpus_allowed_list');
    if (/[-,]/.test(all!)) expect(cores[0]).not.toEqual(cores[1]);
    expect(printed).toMatch(/clip: rank 0 keeps to cores? \d+/);
  },
  SLOW,
);
