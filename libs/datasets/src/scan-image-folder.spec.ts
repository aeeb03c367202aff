import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { readCaptions } from './captions.ts';
import { scanImageFolder } from './scan-image-folder.ts';
import { isValidationFile, splitFiles } from './split-files.ts';

let root = '';
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'clip-gen-scan-'));
});
afterEach(() => rm(root, { recursive: true }));

describe('scanImageFolder', () => {
  it('finds pictures by ending, sorted, without hidden names', async () => {
    await mkdir(join(root, 'b/deep'), { recursive: true });
    await mkdir(join(root, '.hidden'));
    const files = ['z.PNG', 'a.jpg', 'b/deep/é.webp', 'b/a b.jpeg', '.hidden/x.png', '.x.png', 'n.txt', 'png', 'b.gif'];
    for (const file of files) await writeFile(join(root, file), '');
    expect(await scanImageFolder(root)).toEqual(['a.jpg', 'b/a b.jpeg', 'b/deep/é.webp', 'z.PNG']);
    await expect(scanImageFolder(root, 3)).rejects.toMatchObject({ code: 'resource_exhausted' });
  });

  it('follows links once and ends on loops', async () => {
    await mkdir(join(root, 'real'));
    await writeFile(join(root, 'real/1.png'), '');
    await symlink(root, join(root, 'real/loop'));
    await symlink(join(root, 'real'), join(root, 'alias'));
    await symlink(join(root, 'real/1.png'), join(root, 'link.png'));
    await symlink(join(root, 'nowhere'), join(root, 'dangling.png'));
    expect(await scanImageFolder(root)).toEqual(['alias/1.png', 'link.png']);
  });

  it('names a folder that does not exist', async () => {
    await expect(scanImageFolder(join(root, 'no'))).rejects.toMatchObject({
      code: 'not_found',
      message: `image folder ${join(root, 'no')} does not exist`,
    });
  });
});

describe('readCaptions', () => {
  const read = async (text: string): Promise<Map<string, string[]>> => {
    await writeFile(join(root, 'captions.jsonl'), text);
    return readCaptions(join(root, 'captions.jsonl'));
  };

  it('takes one caption or several, empty lines, CRLF and repeated files', async () => {
    const lines = [
      '\uFEFF{"file": "a/1.png", "captions": ["a cat", "a tabby"], "extra": 1}',
      '',
      '{"file": "./b.png", "caption": "ein Hund \\u00e4"}',
      '{"file": "a/1.png", "caption": "kitten"}',
    ];
    const captions = await read(lines.join('\r\n'));
    expect([...captions]).toEqual([
      ['a/1.png', ['a cat', 'a tabby', 'kitten']],
      ['b.png', ['ein Hund ä']],
    ]);
  });

  it.each([
    ['{"file": "a.png"', 'line 2 must be JSON'],
    ['[]', 'line 2 must have a string "file"'],
    ['null', 'line 2 must be a JSON object'],
    ['{"caption": "x"}', 'line 2 must have a string "file"'],
    ['{"file": "../a.png", "caption": "x"}', 'line 2 "file" must lie inside the folder; got "../a.png"'],
    ['{"file": "/a.png", "caption": "x"}', 'must lie inside the folder'],
    ['{"file": "a.png"}', 'line 2 must have "caption" or 1 to 1000 "captions"'],
    ['{"file": "a.png", "captions": []}', 'line 2 must have "caption" or 1 to 1000'],
    ['{"file": "a.png", "captions": ["x", 3]}', 'line 2 must have captions that are non-empty strings'],
    ['{"file": "a.png", "caption": " "}', 'line 2 must have captions that are non-empty strings'],
    ['x'.repeat((1 << 20) + 1), 'line 2 must have at most 1048576 letters'],
    ['x'.repeat(5 << 20), 'is too long'],
  ])('names the line of %.40s', async (line, message) => {
    await expect(read(`{"file": "ok.png", "caption": "fine"}\n${line}\n`)).rejects.toMatchObject({
      code: 'data_corrupt',
      message: expect.stringContaining(message),
    });
  });

  it('names a file that does not exist', async () => {
    await expect(readCaptions(join(root, 'none.jsonl'))).rejects.toMatchObject({ code: 'not_found' });
  });
});

describe('splitFiles', () => {
  const files = Array.from({ length: 5000 }, (_, i) => `style${i % 5}/${Math.floor(i / 5)}.png`);

  it('keeps a file on its side whatever else there is', () => {
    const whole = splitFiles(files, 0.1);
    expect(Math.abs(whole.validation.length - 500)).toBeLessThan(70);
    expect(whole.training.length + whole.validation.length).toBe(5000);
    const half = splitFiles(files.slice(0, 2500), 0.1);
    expect(half.validation).toEqual(whole.validation.filter((file) => half.validation.includes(file)));
    expect(isValidationFile('a.png', 0)).toBe(false);
  });

  it('keeps files of one key together', () => {
    const { training, validation } = splitFiles(files, 0.2, (file) => file.split('/')[1]!);
    const held = new Set(validation.map((file) => file.split('/')[1]));
    expect(training.some((file) => held.has(file.split('/')[1]))).toBe(false);
    expect(validation.length).toBe(held.size * 5);
    expect(() => splitFiles(files, 1)).toThrow('validation fraction must be in [0, 1); got 1');
  });
});
