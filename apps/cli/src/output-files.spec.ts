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

it('refuses a name that no file can have, before anything is drawn', async () => {
  const plan = (letters: number, pictures: number): Promise<OutputFiles> =>
    planOutput({ prompt: 'x', pictures, seed: 1, out: `${'x'.repeat(letters)}.png` });
  expect((await plan(251, 1)).pictures).toHaveLength(1);
  await expect(plan(252, 1)).rejects.toThrow('--out must be a name of at most 255 bytes; got 256');
  await expect(plan(251, 2)).rejects.toThrow('got 257');
});

it('names pictures on the way, which overwrite nothing either', async () => {
  const partials = async (): Promise<readonly string[]> =>
    (await planOutput({ prompt: 'hen', pictures: 2, partialImages: 2, seed: 7 })).partials;
  expect(await partials()).toEqual(['hen-partial-1.png', 'hen-partial-2.png']);
  await writeFile('hen-partial-2.png', 'mine');
  expect(await partials()).toEqual(['hen-seed7-partial-1.png', 'hen-seed7-partial-2.png']);
});

it('replaces what --out names, and nothing else', async () => {
  await writeFile('x.webp', 'old');
  const files = await planOutput({ prompt: 'x', pictures: 1, seed: 1, out: 'x.webp' });
  expect(files).toEqual({ format: 'webp', main: 'x.webp', pictures: ['x.webp'], partials: [], replace: true });
});
