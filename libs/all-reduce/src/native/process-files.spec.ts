import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { ownedName, removeAbandoned } from './process-files.ts';

it('removes files of processes that have ended, and no others', () => {
  const folder = mkdtempSync(join(tmpdir(), 'process-files-'));
  try {
    const own = ownedName('.memory');
    const { pid } = spawnSync(process.execPath, ['--version']);
    const [, namespace, , start] = own.split(/-(?=\d)/) as [string, string, string, string];
    const ended = own.replace(`-${process.pid}-`, `-${pid}-`);
    const reused = own.replace(`-${start.split('-')[0]}-`, '-1-'); // our id, but another start: a process before us
    const elsewhere = ended.replace(`-${namespace}-`, '-1-');
    for (const name of [own, ended, reused, elsewhere, 'clip-gen-notes.txt', 'other']) {
      writeFileSync(join(folder, name), '');
    }
    removeAbandoned(folder);
    expect(readdirSync(folder).sort()).toEqual([own, elsewhere, 'clip-gen-notes.txt', 'other'].sort());
    removeAbandoned(join(folder, 'nowhere'));
  } finally {
    rmSync(folder, { recursive: true });
  }
});
