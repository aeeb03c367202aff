import { readdir, readFile } from 'node:fs/promises';
import { expect, it } from 'vitest';

it('lists every file of the README, and no other', async () => {
  const readme = await readFile(new URL('../README.md', import.meta.url), 'utf8');
  const named = Array.from(readme.matchAll(/^\| `([\w./-]+\.(?:ts|html))`/gm), ([, file]) => file);
  const files = await readdir(new URL('.', import.meta.url), { recursive: true });
  const shipped = files.filter((file) => /\.(ts|html)$/.test(file) && !/\.spec\.ts$|^(index|main)\.ts$/.test(file));
  expect(named.sort()).toEqual(shipped.sort());
});
