import { spawn, type ChildProcess } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { temporaryFolder } from '@clip-gen/testing';
import { afterEach, expect, it } from 'vitest';
import { TINY_CLIP, writePictures } from '../tiny-trainings.ts';

const CLI = fileURLToPath(new URL('../../../cli/bin/clip-gen.js', import.meta.url));
const SLOW = 120_000;

let launcher: ChildProcess | undefined;
afterEach(() => launcher?.kill('SIGKILL'));

/** What a line of /proc/PID/status says. */
function statusOf(pid: number | string, name: string): string | undefined {
  try {
    return new RegExp(`^${name}:\\s*(\\S+)`, 'm').exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
  } catch {
    return undefined; // it has ended
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
          if (printed.includes('validation')) resolve();
        });
      }
      launcher!.once('close', (code) => reject(new Error(`ended with ${code}: ${printed}`)));
    });
    await trains;
    const ranks = readdirSync('/proc').filter((id) => /^\d+$/.test(id) && statusOf(id, 'PPid') === String(pid));
    const cores = ranks.map((id) => statusOf(id, 'Cpus_allowed_list'));
    const ended = new Promise((resolve) => launcher!.once('close', resolve));
    launcher.kill('SIGTERM');
    expect(await ended, printed).toBe(75);

    expect(cores).toHaveLength(2);
    if (availableParallelism() > 1) expect(cores[0]).not.toBe(cores[1]);
    const share = Math.floor(availableParallelism() / 2);
    const said = share > 1 ? `${share} cores` : 'a core';
    expect(printed).toContain(`clip: 2 processes train together`);
    expect(printed).toContain(`each process of this machine keeps to ${said}\n`);
  },
  SLOW,
);
