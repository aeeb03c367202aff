import { writeFile } from 'node:fs/promises';
import { temporaryFolder } from '@clip-gen/testing';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { planOutput, type OutputFiles } from './output-files.ts';

// Names are relative to the working folder.
const home = process.cwd();
beforeAll(async () => process.chdir(await temporaryFolder()));
afterAll(() => process.chdir(home));

const plan = (prompt: string, pictures = 1, seed = 7): Promise<OutputFiles> => planOutput({ prompt, pictures, seed });

it('takes the first name whose every file is free', async () => {
  const taken = ['cat.png', 'cat-seed7.png', 'cat-seed7-2.png', 'dog-2.png', 'dog-seed7-1.png'];
  for (const name of taken) await writeFile(name, 'mine');
  expect(await plan('A cow!')).toMatchObject({ main: 'a-cow.png', pictures: ['a-cow.png'], replace: false });
  expect(await plan('cat')).toMatchObject({ main: 'cat-seed7-3.png' });
  expect(await plan('cat', 1, 8)).toMatchObject({ main: 'cat-seed8.png' });
  const dogs = await plan('dog', 2);
  expect([dogs.main, ...dogs.pictures]).toEqual(['dog-seed7-2.png', 'dog-seed7-2-1.png', 'dog-seed7-2-2.png']);
  expect(await plan('dog')).toMatchObject({ main: 'dog.png' }); // dog-2.png is in nobody's way
});

it.each(['漢'.repeat(90), '😀'.repeat(90), '𐍈'.repeat(90), 'word '.repeat(90)])('cuts %s by bytes', async (prompt) => {
  const { main, pictures } = await plan(prompt, 256, Number.MAX_SAFE_INTEGER);
  for (const name of [main, ...pictures]) {
    expect(Buffer.byteLength(name)).toBeLessThanOrEqual(200);
    expect(name).not.toContain('\ufffd');
    await writeFile(name, '');
  }
  const second = await plan(prompt, 256, Number.MAX_SAFE_INTEGER);
  expect(Math.max(...second.pictures.map((name) => Buffer.byteLength(name)))).toBeLessThanOrEqual(200);
});

it('replaces what --out names, and nothing else', async () => {
  await writeFile('x.webp', 'old');
  const files = await planOutput({ prompt: 'x', pictures: 1, seed: 1, out: 'x.webp' });
  expect(files).toEqual({ format: 'webp', main: 'x.webp', pictures: ['x.webp'], replace: true });
});
