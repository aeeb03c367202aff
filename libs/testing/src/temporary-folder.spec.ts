import { existsSync } from 'node:fs';
import { readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { removeTemporaryFolders, temporaryFolder } from './temporary-folder.ts';

it('gives a new empty folder on every call and removes them all', async () => {
  const first = await temporaryFolder();
  const second = await temporaryFolder();
  expect(first).not.toBe(second);
  expect(await readdir(first)).toEqual([]);
  await writeFile(join(first, 'file'), 'x');

  await removeTemporaryFolders();
  expect(existsSync(first)).toBe(false);
  expect(existsSync(second)).toBe(false);
});
