import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { readCaptions } from './captions.ts';
import { scanImageFolder } from './scan-image-folder.ts';
import { isValidationFile } from './split-files.ts';

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
    [
      JSON.stringify({ file: 'a.png', caption: 'x'.repeat(32_769) }),
      'line 2 must have captions of at most 32768 characters; got 32769',
    ],
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

describe('isValidationFile', () => {
  const keys = Array.from({ length: 5000 }, (_, i) => `style${i % 5}/${Math.floor(i / 5)}.png`);

  it('takes the asked share, by the key alone', () => {
    const held = keys.filter((key) => isValidationFile(key, 0.1));
    expect(Math.abs(held.length - 500)).toBeLessThan(70);
    // A larger share takes the same ones and more.
    expect(held.every((key) => isValidationFile(key, 0.2))).toBe(true);
    // SHA-256 of "a" begins ca97 8112: 0.7913 of the way.
    expect([isValidationFile('a', 0.791), isValidationFile('a', 0.792)]).toEqual([false, true]);
  });

  it('takes none at 0 and refuses 1', () => {
    expect(keys.some((key) => isValidationFile(key, 0))).toBe(false);
    expect(() => isValidationFile('a.png', 1)).toThrow('validation fraction must be in [0, 1); got 1');
  });
});
