import { spawn } from 'node:child_process';
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { writeTinyModel } from '@clip-gen/generation';
import { decodeImage, encodeImage, resizeImage, sniffImageFormat } from '@clip-gen/image';
import { temporaryFolder } from '@clip-gen/testing';
import { afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { main } from './main.ts';

const SIZES = { codebookSize: 30, contextLength: 16, gptWidth: 32 };

let folder: string;
let model: string;
beforeAll(async () => {
  folder = await temporaryFolder();
  model = join(folder, 'model');
  await writeTinyModel(model, { ...SIZES, dtype: 'float16' });
});
afterEach(() => vi.restoreAllMocks());

interface Outcome {
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** The program as a person starts it. */
function start(args: readonly string[], cwd = folder): Promise<Outcome> {
  const program = fileURLToPath(new URL('../bin/clip-gen.js', import.meta.url));
  const child = spawn(process.execPath, [program, ...args], { cwd, stdio: ['ignore', 'pipe', 'pipe'] });
  const text = { stdout: '', stderr: '' };
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => (text.stdout += chunk));
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => (text.stderr += chunk));
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code) => resolve({ exitCode: code ?? -1, ...text }));
  });
}

/** The same in this process. */
async function call(args: readonly string[]): Promise<Outcome> {
  const text = { stdout: '', stderr: '' };
  for (const stream of ['stdout', 'stderr'] as const) {
    vi.spyOn(process[stream], 'write').mockImplementation((chunk) => {
      text[stream] += String(chunk);
      return true;
    });
  }
  try {
    return { exitCode: (await main(args)) ?? 0, ...text };
  } finally {
    vi.restoreAllMocks();
  }
}

describe('clip-gen generate', () => {
  it('writes a picture named after the prompt, the same bytes for the same seed', { timeout: 240_000 }, async () => {
    const cwd = await temporaryFolder();
    const first = await start(['generate', 'a', 'Slice of pizza!', '--model', model, '--seed', '7'], cwd);
    expect(first).toMatchObject({ exitCode: 0, stderr: '' });
    expect(first.stdout).toMatch(/^a-slice-of-pizza\.png {2}score -?0\.\d{3} {2}seed 7 {2}candidate \d+\n$/);
    const picture = await decodeImage(join(cwd, 'a-slice-of-pizza.png'));
    expect(picture).toMatchObject({ width: 256, height: 256 });
    const again = await start(
      ['generate', 'a slice of pizza!', '--model', model, '--seed', '7', '--threads', '1'],
      cwd,
    );
    expect(again.stdout).toMatch(/^a-slice-of-pizza-seed7\.png /); // nothing is overwritten unasked
    const bytes = (name: string): Promise<Buffer> => readFile(join(cwd, name));
    const same = (await bytes('a-slice-of-pizza-seed7.png')).equals(await bytes('a-slice-of-pizza.png'));
    expect(same).toBe(true);
  });

  it('keeps several, best first, with a contact sheet', async () => {
    const out = join(await temporaryFolder(), 'pizza.webp');
    const args = ['generate', 'pizza', '--model', model, '--candidates', '5', '-n', '3', '--out', out, '--size', '32'];
    const { exitCode, stdout, stderr } = await call(args);
    expect(exitCode).toBe(0);
    const lines = stdout.trimEnd().split('\n');
    const scores = lines.slice(0, 3).map((line) => Number(/score (\S+)/.exec(line)![1]));
    expect(scores).toEqual([...scores].sort((a, b) => b - a));
    expect(lines[3]).toBe(`${out}  all 3 on one sheet`);
    expect(stderr).toMatch(/^the same again: --seed \d+\n$/);
    const names = (await readdir(join(out, '..'))).sort();
    expect(names).toEqual(['pizza-1.webp', 'pizza-2.webp', 'pizza-3.webp', 'pizza.webp']);
    for (const name of names) expect(sniffImageFormat(await readFile(join(out, '..', name)))).toBe('webp');
    expect((await decodeImage(join(out, '..', 'pizza-2.webp'))).width).toBe(32);
    expect((await decodeImage(out)).width).toBe(2 * 32 + 3 * 8);
  });

  it("draws by the model's generation.json, and by the flags before it", async () => {
    const own = join(await temporaryFolder(), 'own');
    await writeTinyModel(own, SIZES);
    const lines = async (folder: string, ...more: string[]): Promise<string> => {
      const out = join(await temporaryFolder(), 'x.png');
      const args = ['generate', 'pizza', '--model', folder, '--seed', '3', '-n', '2', '--out', out, ...more];
      const { exitCode, stdout } = await call(args);
      expect(exitCode).toBe(0);
      return stdout.replaceAll(out.slice(0, -4), 'x');
    };
    const flags = ['--candidates', '2', '--temperature', '0.5', '--top-k', '3', '--top-p', '0.7', '--guidance', '3'];
    const [asked, standard] = [await lines(own, ...flags), await lines(own, '--candidates', '2')];
    expect(asked).not.toBe(standard);
    const defaults = { candidates: 2, temperature: 0.5, topK: 3, topP: 0.7, guidance: 3 };
    await writeFile(join(own, 'generation.json'), JSON.stringify(defaults));
    expect(await lines(own)).toBe(asked);
    const back = ['--temperature', '1', '--top-k', '30', '--top-p', '0.95', '--guidance', '1'];
    expect(await lines(own, ...back)).toBe(standard);
    // fewer candidates than pictures are the model's wish, not the caller's
    await writeFile(join(own, 'generation.json'), JSON.stringify({ ...defaults, candidates: 1 }));
    expect(await lines(own)).toBe(asked);

    await writeFile(join(own, 'generation.json'), '{ "topK": 31 }');
    expect(await call(['generate', 'pizza', '--model', own])).toEqual({
      exitCode: 2,
      stdout: '',
      stderr: `clip-gen: ${join(own, 'generation.json')}: topK must be an integer in [1, 30], or 0 for off; got 31\n`,
    });
  });

  it('enlarges by the kernel that was asked for', async () => {
    const at = join(await temporaryFolder(), 'x');
    const args = ['generate', 'pizza', '--model', model, '--seed', '1', '--candidates', '1', '--out'];
    for (const [name, ...more] of [
      ['native', '--size', '16'],
      ['nearest', '--size', '48', '--kernel', 'nearest'],
      ['cubic', '--size', '48'],
    ]) {
      expect(await call([...args, `${at}-${name}`, ...more])).toMatchObject({ exitCode: 0 });
    }
    const native = await decodeImage(`${at}-native.png`);
    const nearest = await decodeImage(`${at}-nearest.png`);
    expect(nearest.data).toEqual((await resizeImage(native, { width: 48, height: 48 }, 'nearest')).data);
    expect((await decodeImage(`${at}-cubic.png`)).data).not.toEqual(nearest.data);
  });

  it.each([
    [['generate', ''], 'prompt must be a description in words; got ""'],
    [['generate', 'pizza '.repeat(15)], 'prompt must be at most 14 tokens long (a word is one or a few); got 15'],
    [
      ['generate', 'pizza', '-n', '4', '--candidates', '2'],
      '-n must be an integer in [1, 2], the number of candidates; got 4',
    ],
    [['generate', 'pizza', '--top-k', '31'], '--top-k must be an integer in [1, 30], or 0 for off; got 31'],
    [['generate', 'pizza', '--top-p', '0'], '--top-p must be in (0, 1]; got 0'],
    [
      ['generate', 'pizza', '--out', '/no/such/folder/x.png'],
      '--out: the folder /no/such/folder does not exist; make it first',
    ],
    [['generate', 'pizza', '--out', `${process.execPath}/x.png`], `--out: ${process.execPath} is not a folder`],
    [['generate', 'pizza', '--out', 'x.gif'], '--out must be a .png, .jpg, .jpeg or .webp file; got "x.gif"'],
    [['generate', 'pizza', '--out', 'x/'], '--out must be the path of a file such as pizza.png; got "x/"'],
    [
      ['generate', 'pizza', '--out', 'x.png', '--format', 'webp'],
      '--format must be png, as --out says, or left out; got "webp"',
    ],
    [
      ['generate', 'pizza', '--model', '/no/model'],
      '/no/model/clip/config.json does not exist; train the model first (clip-gen train --help), or name another folder',
    ],
    [['generate', 'pizza', '--model', '/no/model', '--top-p', '0'], '--top-p must be in (0, 1]; got 0'],
  ])('refuses %j before any work', async (args, line) => {
    const defaults = args.includes('--model') ? [] : ['--model', model];
    const out = args.includes('--out') ? [] : ['--out', join(folder, 'never.png')];
    const outcome = await call([...args, ...defaults, ...out]);
    expect(outcome).toEqual({ exitCode: 2, stdout: '', stderr: expect.stringMatching(/\/?/) });
    const where = args.includes('/no/model')
      ? outcome.stderr.replace(/\/no\/model\/\w+\//, '/no/model/clip/')
      : outcome.stderr;
    expect(where).toBe(`clip-gen: ${line}\n`);
    expect(await readdir(folder)).not.toContain('never.png');
  });

  it.each([
    [[], /^Usage: clip-gen /],
    [['genrate', 'x'], /^clip-gen: unknown command 'genrate' \(Did you mean generate\?\); see --help\n$/],
    [['generate'], /^clip-gen: missing required argument 'prompt'; see --help\n$/],
    [['generate', 'x', '--sed', '1'], /^clip-gen: unknown option '--sed' \(Did you mean --seed\?\); see --help\n$/],
    [
      ['generate', 'x', '--seed', '1.5'],
      /^clip-gen: option .* argument '1\.5' is invalid\. It must be an integer in \[0, \d+\]; see/,
    ],
    [['generate', 'x', '--seed', '9007199254740992'], /'9007199254740992' is invalid/],
    [['generate', 'x', '-n', '0'], /'0' is invalid\. It must be an integer in \[1, 256\]/],
    [['generate', 'x', '--candidates', '257'], /'257' is invalid\. It must be an integer in \[1, 256\]/],
    [['generate', 'x', '--temperature', 'hot'], /'hot' is invalid\. It must be a number in \[0, 10\]/],
    [['generate', 'x', '--guidance', '-1'], /'-1' is invalid/],
    [['generate', 'x', '--size', '100000'], /'100000' is invalid/],
    [['generate', 'x', '--format', 'gif'], /'gif' is invalid\. Allowed choices are png, jpg, webp/],
    [['generate', 'x', '--threads', '0'], /'0' is invalid/],
    [['evaluate'], /^clip-gen: required option '--data <folder>' not specified; see --help\n$/],
    [
      ['evaluate', '--data', '/no/data'],
      /^clip-gen: image folder \/no\/data\/heldout does not exist; --data must be the emoji data set .*\n$/,
    ],
  ])('answers %j with one line and exit code 2', async (args, stderr) => {
    expect(await call(args)).toEqual({ exitCode: 2, stdout: '', stderr: expect.stringMatching(stderr) });
  });

  it('shows no stack trace unless it is asked to', { timeout: 240_000 }, async () => {
    const broken = join(await temporaryFolder(), 'broken');
    await writeTinyModel(broken, SIZES);
    await writeFile(join(broken, 'gpt', 'config.json'), '{');
    const { exitCode, stdout, stderr } = await start(['generate', 'pizza', '--model', broken]);
    expect({ exitCode, stdout }).toEqual({ exitCode: 2, stdout: '' });
    expect(stderr).toMatch(/^clip-gen: .*config\.json must be JSON: .*\n$/);
  });

  it.each([[['--help']], [['generate', '--help']], [['evaluate', '--help']]])(
    '%j teaches by examples',
    async (args) => {
      const { exitCode, stdout } = await call(args);
      expect(exitCode).toBe(0);
      expect(stdout).toContain('\nExamples:\n  clip-gen ');
    },
  );

  it('says which version it is', async () => {
    expect(await call(['--version'])).toMatchObject({
      exitCode: 0,
      stdout: expect.stringMatching(/^\d+\.\d+\.\d+\n$/),
    });
  });
});

describe('a pipe that closes', () => {
  const closed = Object.assign(new Error('write EPIPE'), { code: 'EPIPE' });

  it.each([
    ['generate', [0]],
    ['train', []],
  ])('ends %s: %j', async (name, exits) => {
    await call([name, '--help']);
    const codes: unknown[] = [];
    vi.spyOn(process, 'exit').mockImplementation(((code: unknown) => codes.push(code)) as never);
    for (const listener of process.stdout.listeners('error')) listener.call(process.stdout, closed);
    expect(codes).toEqual(exits);
  });
});

describe('clip-gen evaluate', () => {
  let data: string;
  beforeAll(async () => {
    data = join(await temporaryFolder(), 'emoji');
    const names = ['pizza', 'cat', 'blue car', 'sun'];
    for (const split of ['train', 'heldout']) {
      await mkdir(join(data, split, 'style'), { recursive: true });
      for (const [i, name] of names.entries()) {
        const pixels = Uint8Array.from({ length: 3 * 20 * 20 }, (_, at) => (at * (i + 3) * 7) % 256);
        const picture = await encodeImage({ width: 20, height: 20, data: pixels }, { format: 'png' });
        await writeFile(join(data, split, 'style', `${name}.png`), picture);
      }
      const lines = names.map((name) =>
        JSON.stringify({ file: `style/${name}.png`, captions: [name, `a ${name}`], name }),
      );
      await writeFile(join(data, split, 'captions.jsonl'), lines.join('\n'));
    }
    const listed = names.map((name, i) => ({ name, prompt: `a ${name}`, emoji: null, common: i > 0 }));
    await writeFile(join(data, 'names.json'), JSON.stringify(listed));
  });

  const args = (): string[] => ['evaluate', '--data', data, '--model', model, '--candidates', '2'];

  it('measures every part, the same each time', async () => {
    const { exitCode, stdout, stderr } = await call([...args(), '--json']);
    expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' });
    const found = JSON.parse(stdout) as Record<string, number>;
    expect(found).toMatchObject({
      pictures: 4,
      codebookSize: 30,
      retrievalHeldout: { hits: expect.any(Number), of: 4 },
      retrievalTrain: { hits: expect.any(Number), of: 4 },
      promptCheck: { hits: expect.any(Number), of: 3 },
    });
    expect(found['reconstructionPsnr']).toBeGreaterThan(3);
    expect(found['reconstructionPsnr']).toBeLessThan(20); // an untrained decoder against noise
    expect(found['tokenPerplexity']).toBeLessThanOrEqual(found['usedCodes']!);
    expect(found['tokenCrossEntropy']).toBeGreaterThan(1);
    expect((await call([...args(), '--json'])).stdout).toBe(stdout);
  });

  it("draws by the model's generation.json", async () => {
    const own = join(await temporaryFolder(), 'own');
    await writeTinyModel(own, { ...SIZES, dtype: 'float16' });
    await writeFile(join(own, 'generation.json'), '{ "guidance": 2.5, "topK": 4, "candidates": 200 }');
    const few = ['--prompts', '2', '--pictures', '1', '--retrieval', '1', '--json', '--candidates', '2'];
    const measure = async (...more: string[]): Promise<unknown> => {
      const { exitCode, stdout } = await call(['evaluate', '--data', data, ...few, ...more]);
      expect(exitCode).toBe(0);
      return JSON.parse(stdout);
    };
    const found = await measure('--model', own);
    expect(found).toMatchObject({ sampling: { guidance: 2.5, temperature: 1, topK: 4, topP: 0.95 } });
    expect(await measure('--model', model, '--guidance', '2.5', '--top-k', '4')).toEqual(found);
    expect(await measure('--model', own, '--guidance', '1')).toMatchObject({ sampling: { guidance: 1, topK: 4 } });
  });

  it('prints a table', async () => {
    const { exitCode, stdout } = await call([...args(), '--prompts', '1', '--pictures', '1', '--retrieval', '2']);
    expect(exitCode).toBe(0);
    expect(stdout).toMatch(/^reconstruction PSNR, 1 held-out pictures {2}\d+\.\d\d dB$/m);
    expect(stdout).toMatch(/^picture to caption, train +\d of 2$/m);
    expect(stdout).toMatch(/^prompts whose picture is nearest +1 of 1$/m);
    expect(stdout).toMatch(/^drawn with +guidance 1, temperature 1, top-k 30, top-p 0\.95$/m);
  });

  it('refuses how to draw before it measures', async () => {
    const { exitCode, stdout, stderr } = await call([...args(), '--top-p', '0']);
    expect({ exitCode, stdout, stderr }).toEqual({
      exitCode: 2,
      stdout: '',
      stderr: 'clip-gen: --top-p must be in (0, 1]; got 0\n',
    });
  });

  it('needs a common name', async () => {
    const path = join(data, 'names.json');
    const names = await readFile(path, 'utf8');
    await writeFile(path, names.replaceAll('true', 'false'));
    const { exitCode, stderr } = await call(args());
    await writeFile(path, names);
    expect({ exitCode, stderr }).toEqual({
      exitCode: 2,
      stderr: `clip-gen: ${path} must list at least one common name\n`,
    });
  });

  it('needs names.json', async () => {
    await rm(join(data, 'names.json'));
    const { exitCode, stderr } = await call(args());
    expect(exitCode).toBe(2);
    expect(stderr).toBe(`clip-gen: ${join(data, 'names.json')} does not exist; make the emoji data set first\n`);
  });
});
