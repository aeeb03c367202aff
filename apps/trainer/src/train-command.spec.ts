import { spawn, type ChildProcess } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ClipGenError } from '@clip-gen/errors';
import { temporaryFolder } from '@clip-gen/testing';
import { afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { OutLock } from './out-lock.ts';
import { TINY_CLIP, TINY_VQGAN, writeFrozenModels, writePictures } from './tiny-trainings.ts';
import { trainCommand } from './train-command.ts';

const ROOT = fileURLToPath(new URL('../../..', import.meta.url));
const SLOW = 240_000;
const set = (settings: object): string[] =>
  Object.entries(settings).flatMap(([name, value]) => ['--set', `${name}=${JSON.stringify(value)}`]);
const SMALL = { batchSize: 4, threads: 1, validationFraction: 0.3 };
const CLIP = set({ ...SMALL, model: TINY_CLIP, vocabularySize: 514 });
const VQGAN = set({ ...SMALL, model: TINY_VQGAN, 'adversarial.weight': 0 });

let pictures: string;
let models: string;

beforeAll(async () => {
  pictures = join(await temporaryFolder(), 'pictures');
  models = await temporaryFolder();
  await writePictures(pictures, 13);
  await writeFrozenModels(models, pictures);
});

/** Runs the command in this process; what it prints and its exit code. */
async function train(...argv: string[]): Promise<{ printed: string; exitCode: unknown }> {
  let printed = '';
  const write = vi.spyOn(process.stdout, 'write').mockImplementation((text) => {
    printed += String(text);
    return true;
  });
  try {
    await trainCommand().parseAsync(argv, { from: 'user' });
    return { printed, exitCode: process.exitCode };
  } finally {
    write.mockRestore();
  }
}

async function errorOf(...argv: string[]): Promise<ClipGenError> {
  const error: unknown = await train(...argv).then(
    () => undefined,
    (cause: unknown) => cause,
  );
  expect(error).toBeInstanceOf(ClipGenError);
  expect((error as ClipGenError).message).not.toContain('\n');
  return error as ClipGenError;
}

afterEach(() => {
  process.exitCode = undefined;
});

describe('errors', () => {
  const folder = (): Promise<string> => temporaryFolder();

  it('an unknown setting, and one out of bounds', async () => {
    const flags = ['--data', pictures, '--out', await folder()];
    expect(await errorOf('clip', ...flags, '--set', 'bogus=1')).toMatchObject({
      code: 'invalid_argument',
      message: 'training settings: Unrecognized key: "bogus"',
    });
    expect(await errorOf('vqgan', ...flags, '--set', 'batchSize=0')).toMatchObject({ code: 'invalid_argument' });
    expect(await errorOf('clip', ...flags, '--set', 'epochs')).toMatchObject({
      code: 'invalid_argument',
      message: '--set must be name=value; got "epochs"',
    });
  });

  it('a data folder that is missing, empty, or without captions', async () => {
    const out = await folder();
    const [missing, empty, mute] = [join(out, 'none'), join(out, 'empty'), join(out, 'mute')];
    await mkdir(empty);
    await writePictures(mute, 1);
    await writeFile(join(mute, 'captions.jsonl'), '');
    expect(await errorOf('vqgan', '--data', missing, '--out', out)).toMatchObject({
      code: 'not_found',
      message: `image folder ${missing} does not exist`,
    });
    expect(await errorOf('vqgan', '--data', empty, '--out', out)).toMatchObject({
      code: 'not_found',
      message: `image folder ${empty} holds no png, jpeg or webp picture`,
    });
    expect(await errorOf('clip', '--data', mute, '--out', out)).toMatchObject({
      code: 'data_corrupt',
      message: `captions file ${join(mute, 'captions.jsonl')} names none of the 1 pictures`,
    });
  });

  it('an --out that cannot be a folder, before the data is read', async () => {
    const out = join(await folder(), 'file');
    await writeFile(out, '');
    expect(await errorOf('vqgan', '--data', 'nowhere', '--out', join(out, 'below'))).toMatchObject({
      code: 'failed_precondition',
      message: `--out ${join(out, 'below')} must be a folder that can be written (ENOTDIR)`,
    });
    expect(await errorOf('vqgan', '--data', 'nowhere', '--out', out)).toMatchObject({
      message: `--out ${out} must be a folder that can be written (EEXIST)`,
    });
  });

  it('makes no --out for settings or data that cannot be used', async () => {
    const out = join(await folder(), 'out');
    await errorOf('vqgan', '--data', pictures, '--out', out, '--set', 'bogus=1');
    await errorOf('vqgan', '--data', 'nowhere', '--out', out);
    await errorOf('vqgan', '--data', pictures, '--out', out, ...VQGAN, ...set({ batchSize: 50 }));
    expect(existsSync(out)).toBe(false);
  });

  it('an --out in which another training runs', async () => {
    const out = await folder();
    const lock = await OutLock.acquire(out);
    expect(await errorOf('vqgan', '--data', pictures, '--out', out, ...VQGAN)).toMatchObject({
      code: 'failed_precondition',
      message: expect.stringContaining(`--out is in use by process ${process.pid}:`),
    });
    await lock.release();
  });

  it('a --vqgan or --clip that holds no model, or one of another kind', async () => {
    const out = await folder();
    const flags = ['gpt', '--data', pictures, '--out', out];
    const [vqgan, clip] = [join(models, 'vqgan'), join(models, 'clip')];
    expect(await errorOf(...flags, '--vqgan', out, '--clip', clip)).toMatchObject({
      code: 'not_found',
      message: `no model in ${out}: ${join(out, 'config.json')} does not exist; train it first`,
    });
    expect(await errorOf(...flags, '--vqgan', vqgan, '--clip', vqgan)).toMatchObject({
      code: 'data_corrupt',
      message: expect.stringContaining(
        `${join(vqgan, 'config.json')} is not the configuration of the model that is needed here: model: Invalid`,
      ),
    });
  });

  it('sizes of a transformer that do not fit the frozen models, before pictures are read', async () => {
    const model = { model: 'gpt', tokens: 25, vocabularySize: 16, conditionSize: 8, width: 8, layers: 1, heads: 1 };
    const frozen = ['--vqgan', join(models, 'vqgan'), '--clip', join(models, 'clip')];
    const flags = ['gpt', '--data', 'nowhere', '--out', await folder(), ...frozen, ...set({ model })];
    expect(await errorOf(...flags)).toMatchObject({
      code: 'failed_precondition',
      message: 'model.tokens must be 16, as the VQGAN and CLIP have it; got 25',
    });
  });

  it('fewer pictures than a batch', async () => {
    const flags = [
      '--data',
      pictures,
      '--out',
      await folder(),
      ...VQGAN,
      ...set({ batchSize: 50, validationFraction: 0 }),
    ];
    expect(await errorOf('vqgan', ...flags)).toMatchObject({
      code: 'invalid_argument',
      message: 'batchSize must be at most the number of training pictures, 13; got 50; e.g. --set batchSize=8',
    });
  });
});

describe('a training', { timeout: SLOW }, () => {
  it('names, leaves out and counts a picture that cannot be read, and ends with 0', async () => {
    const [data, out] = [join(await temporaryFolder(), 'pictures'), await temporaryFolder()];
    await writePictures(data, 13);
    await writeFile(join(data, '7.png'), 'no picture');
    const { printed, exitCode } = await train('vqgan', '--data', data, '--out', out, ...VQGAN, ...set({ epochs: 1 }));
    expect(exitCode).toBe(0);
    expect(printed).toMatch(/left out: .*7\.png/);
    expect(printed).toContain(`${data}: 12 of 13 pictures, 1 unreadable left out\n`);
    expect(printed).toMatch(/vqgan: done after \d steps; the model is in /);
    expect((await readdir(out)).sort()).toEqual(['best', 'checkpoints', 'config.json', 'events', 'model.safetensors']);
  });

  it('goes on only with the frozen models it began with', async () => {
    const out = await temporaryFolder();
    const copies = await temporaryFolder();
    await writeFrozenModels(copies, pictures);
    const model = { model: 'gpt', tokens: 16, vocabularySize: 16, conditionSize: 8, width: 8, layers: 1, heads: 1 };
    const flags = [
      'gpt',
      '--data',
      pictures,
      '--out',
      out,
      '--vqgan',
      join(copies, 'vqgan'),
      '--clip',
      join(copies, 'clip'),
    ];
    const settings = set({ ...SMALL, model, epochs: 1 });
    expect((await train(...flags, ...settings)).exitCode).toBe(0);
    const config = JSON.parse(await readFile(join(copies, 'clip/config.json'), 'utf8')) as typeof TINY_CLIP;
    const changed = { ...config, vision: { ...config.vision, heads: 2 } }; // the same weights, used otherwise
    await writeFile(join(copies, 'clip/config.json'), JSON.stringify(changed));
    const error = await errorOf(...flags, ...settings);
    expect(error).toMatchObject({
      code: 'failed_precondition',
      message: expect.stringContaining('is made with another frozen model'),
    });
  });

  it('stops at Ctrl-C with a checkpoint and exit code 75, and goes on from there', async () => {
    const out = await temporaryFolder();
    const flags = [
      'clip',
      '--data',
      pictures,
      '--out',
      out,
      ...CLIP,
      ...set({ epochs: 50_000, validationFraction: 0.3 }),
    ];
    const first = await interrupted(flags);
    expect(first.code).toBe(75);
    expect(first.printed).toContain('stopping after this step; the checkpoint comes first');
    const at = await placeIn(out);
    expect(first.printed).toContain(`clip: stopped at step ${at.globalStep}; run the same command to go on`);
    expect(at.globalStep).toBeGreaterThan(0);

    const second = await interrupted(flags);
    expect(second.code).toBe(75);
    expect(second.printed).toContain(`clip: going on at epoch ${at.epoch + 1}, step ${at.stepInEpoch}\n`);
    expect((await placeIn(out)).globalStep).toBeGreaterThan(at.globalStep);
  });
});

describe('a process', { timeout: SLOW }, () => {
  it('keeps its work when nobody reads its output any more', async () => {
    const out = await temporaryFolder();
    const flags = ['clip', '--data', pictures, '--out', out, ...CLIP, ...set({ epochs: 50_000 })];
    const { ended } = started(flags, (_, child) => child.stdout!.destroy());
    expect((await ended).code).toBe(75);
    const at = await placeIn(out);
    expect(at.globalStep).toBeGreaterThan(0);
    expect(existsSync(join(out, 'training.lock'))).toBe(false);
  });

  it('goes on from a timed checkpoint after a crash, to the last digit', async () => {
    const settings = set({ epochs: 400, checkpointSeconds: 1 });
    const [whole, crashed] = [await temporaryFolder(), await temporaryFolder()];
    const flags = (out: string): string[] => ['clip', '--data', pictures, '--out', out, ...CLIP, ...settings];
    const { child, ended } = started(flags(crashed));
    const saved = (): boolean => existsSync(join(crashed, 'checkpoints/latest/state.json'));
    while (!saved() && child.exitCode === null) await new Promise((resolve) => setTimeout(resolve, 20));
    child.kill('SIGKILL');
    expect((await ended).code).toBeNull();
    const at = await placeIn(crashed);
    expect(at.globalStep).toBeGreaterThan(0);
    expect(at.epoch).toBeLessThan(400);

    const again = await train(...flags(crashed));
    expect(again.printed).toContain(`clip: going on at epoch ${at.epoch + 1}, step ${at.stepInEpoch}\n`);
    expect(again.exitCode).toBe(0);
    await train(...flags(whole));
    for (const file of ['checkpoints/latest/state.safetensors', 'model.safetensors', 'best/model.safetensors']) {
      expect((await readFile(join(crashed, file))).equals(await readFile(join(whole, file))), file).toBe(true);
    }
    expect(await placeIn(crashed)).toEqual(await placeIn(whole));
  });
});

async function placeIn(out: string): Promise<{ epoch: number; stepInEpoch: number; globalStep: number }> {
  const record = JSON.parse(await readFile(join(out, 'checkpoints/latest/state.json'), 'utf8')) as {
    progress: { epoch: number; stepInEpoch: number; globalStep: number };
  };
  return record.progress;
}

const children: ChildProcess[] = [];
afterEach(() => {
  for (const child of children.splice(0)) child.kill('SIGKILL');
});

/** Runs the command in a process of its own, which ends with the test. @param onPrint told of all that was printed */
function started(
  argv: readonly string[],
  onPrint: (printed: string, child: ChildProcess) => void = () => undefined,
): { readonly child: ChildProcess; readonly ended: Promise<{ code: number | null; printed: string }> } {
  const entry = `import { trainCommand } from '@clip-gen/trainer';
    await trainCommand().parseAsync(process.argv.slice(1), { from: 'user' });`;
  const child = spawn(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', entry, '--', ...argv], {
    cwd: ROOT,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  children.push(child);
  let printed = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => onPrint((printed += text), child));
  const ended = new Promise<{ code: number | null; printed: string }>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code) => resolve({ code, printed }));
  });
  return { child, ended };
}

/** Runs the command, which gets a SIGINT after its first epoch. */
function interrupted(argv: readonly string[]): Promise<{ code: number | null; printed: string }> {
  let sent = false;
  return started(argv, (printed, child) => {
    if (sent || !printed.includes('validation')) return;
    sent = true;
    child.kill('SIGINT');
  }).ended;
}
