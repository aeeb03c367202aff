import { lstat, mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ClipGenError } from '@clip-gen/errors';
import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import { makeFolder, writeBytes, writeWhole } from './index.ts';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'whole-file-'));
});
afterAll(() => rm(folder, { recursive: true }));

const leftOvers = async (): Promise<string[]> => (await readdir(folder)).filter((name) => name.endsWith('.tmp'));

it('writes a file that takes the place of the old one', async () => {
  const path = join(folder, 'a');
  await writeFile(path, 'old and longer');
  await writeWhole(path, async (file) => {
    await writeBytes(file, Buffer.from('new '));
    expect(await readFile(path, 'utf8')).toBe('old and longer');
    await writeBytes(file, Buffer.from('text'));
  });
  expect(await readFile(path, 'utf8')).toBe('new text');
  expect(await leftOvers()).toEqual([]);
});

it('leaves the old file, and nothing else, when writing fails', async () => {
  const path = join(folder, 'b');
  await writeFile(path, 'old');
  const failure = new ClipGenError('internal', 'no');
  const writing = writeWhole(path, async (file) => {
    await writeBytes(file, Buffer.alloc(10_000));
    throw failure;
  });
  await expect(writing).rejects.toBe(failure);
  expect(await readFile(path, 'utf8')).toBe('old');
  expect(await leftOvers()).toEqual([]);
});

it('lets several write the same file at once: one of them wins, whole', async () => {
  const path = join(folder, 'c');
  const texts = ['a', 'b', 'c', 'd'].map((letter) => letter.repeat(10_000));
  await Promise.all(texts.map((text) => writeWhole(path, (file) => writeBytes(file, Buffer.from(text)))));
  expect(texts).toContain(await readFile(path, 'utf8'));
  expect(await leftOvers()).toEqual([]);
});

it('says what is in the way', async () => {
  const write = (path: string): Promise<void> => writeWhole(path, (file) => writeBytes(file, Buffer.of(1)));
  const lost = join(folder, 'nowhere', 'x');
  await expect(write(lost)).rejects.toMatchObject({
    code: 'not_found',
    message: `${lost} cannot be written: make the folder ${join(folder, 'nowhere')} first`,
  });
  const taken = join(folder, 'taken');
  await mkdir(join(taken, 'inside'), { recursive: true });
  const never = vi.fn(() => Promise.resolve());
  await expect(writeWhole(taken, never)).rejects.toMatchObject({
    code: 'failed_precondition',
    message: `${taken} cannot be written: it is a folder`,
  });
  expect(never).not.toHaveBeenCalled();
  await writeFile(join(folder, 'file'), '');
  await expect(write(join(folder, 'file', 'x'))).rejects.toThrow('a file is in the place of its folder');
  await expect(write(join(folder, 'x'.repeat(300)))).rejects.toThrow('the name is too long');
  expect(await leftOvers()).toEqual([]);
});

it.skipIf(process.platform === 'win32')('follows a link, and puts no file in the place of a device', async () => {
  const [path, link] = [join(folder, 'linked'), join(folder, 'link')];
  await writeFile(path, 'old');
  await symlink('linked', link);
  await writeWhole(link, (file) => writeBytes(file, Buffer.from('new')));
  expect(await readFile(path, 'utf8')).toBe('new');
  expect((await lstat(link)).isSymbolicLink()).toBe(true);
  const device = join(folder, 'device'); // a link: whoever breaks this must not break the machine
  await symlink('/dev/null', device);
  await expect(writeWhole(device, () => Promise.resolve())).rejects.toThrow('device cannot be written: it is no file');
});

it('takes the longest name that file systems take', async () => {
  const path = join(folder, `${'x'.repeat(251)}.png`);
  await writeWhole(path, (file) => writeBytes(file, Buffer.of(7)));
  expect([...(await readFile(path))]).toEqual([7]);
});

it('passes on what goes wrong with other files', async () => {
  const missing = join(folder, 'missing');
  const copying = writeWhole(join(folder, 'copy'), async (file) => writeBytes(file, await readFile(missing)));
  await expect(copying).rejects.toMatchObject({ code: 'ENOENT', path: missing });
  const unreadable = writeWhole(join(folder, 'copy'), async (file) => writeBytes(file, await readFile(folder)));
  await expect(unreadable).rejects.toMatchObject({ code: 'EISDIR', syscall: 'read' });
});

it('makes a folder with those above it, or says what is in the way', async () => {
  const path = join(folder, 'x', 'y');
  await makeFolder(path);
  await makeFolder(path);
  expect(await readdir(join(folder, 'x'))).toEqual(['y']);
  await writeFile(join(path, 'z'), '');
  await expect(makeFolder(join(path, 'z'))).rejects.toMatchObject({
    code: 'failed_precondition',
    message: `the folder ${join(path, 'z')} cannot be made: a file of that name is there; name another`,
  });
  await expect(makeFolder(join(path, 'z', 'below'))).rejects.toThrow('cannot be made');
});
