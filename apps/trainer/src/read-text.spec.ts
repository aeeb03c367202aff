import { execFileSync } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { temporaryFolder } from '@clip-gen/testing';
import { expect, it } from 'vitest';
import { MAX_TEXT_BYTES, readText } from './read-text.ts';

it('reads text up to the limit', async () => {
  const path = join(await temporaryFolder(), 'text');
  for (const text of ['', 'ä', 'x'.repeat(MAX_TEXT_BYTES)]) {
    await writeFile(path, text);
    expect(await readText(path)).toBe(text);
  }
});

it('refuses what is missing, too large, no text or no file, with the reason', async () => {
  const folder = await temporaryFolder();
  const path = join(folder, 'text');
  await expect(readText(path)).rejects.toMatchObject({ code: 'not_found', message: `${path} does not exist` });
  await expect(readText(join('/dev/null', 'below'))).rejects.toMatchObject({
    code: 'failed_precondition',
    message: '/dev/null/below cannot be read (ENOTDIR)',
  });
  execFileSync('mkfifo', [join(folder, 'pipe')]);
  for (const special of [folder, '/dev/zero', join(folder, 'pipe')]) {
    await expect(readText(special)).rejects.toMatchObject({
      code: 'failed_precondition',
      message: `${special} cannot be read (it is not a file)`,
    });
  }
  await writeFile(path, Buffer.alloc(MAX_TEXT_BYTES + 1));
  await expect(readText(path)).rejects.toMatchObject({ code: 'resource_exhausted' });
  await writeFile(path, Uint8Array.of(0xff));
  await expect(readText(path)).rejects.toMatchObject({ code: 'data_corrupt' });
});
