import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { tensor } from '@clip-gen/tensor';
import { temporaryFolder } from '@clip-gen/testing';
import { beforeEach, describe, expect, it } from 'vitest';
import { CheckpointFolder, type Progress } from './checkpoint.ts';
import type { StageState } from './stage.ts';

const identity = (settings: object, data = 'a'): string => JSON.stringify({ settings, data });
const IDENTITY = identity({ batchSize: 8, seed: 1 });

let path: string;
let folder: CheckpointFolder;
let warnings: string[];
const warn = (message: string): void => void warnings.push(message);

const progress = (globalStep: number): Progress => ({ epoch: 1, stepInEpoch: 2, globalStep, bestScore: null });
const state = (value: number): StageState => ({
  tensors: [['clip.values.w', tensor('float32', [2], Float32Array.of(value, -value))]],
  notes: { steps: { default: value } },
});

beforeEach(async () => {
  path = join(await temporaryFolder(), 'checkpoints');
  folder = new CheckpointFolder(path, 'clip', IDENTITY);
  warnings = [];
});

/** Flips one bit in the middle of a file. */
async function flipBit(file: string): Promise<void> {
  const bytes = await readFile(file);
  bytes[bytes.length - 3]! ^= 1;
  await writeFile(file, bytes);
}

describe('CheckpointFolder', () => {
  it('has none at first', async () => {
    expect(await folder.load(warn)).toBeUndefined();
  });

  it('gives back what was saved last, and keeps the one before', async () => {
    await folder.save(progress(1), state(1));
    await folder.save(progress(2), state(2));
    await folder.save({ ...progress(3), bestScore: -21.5 }, state(3));
    const loaded = (await folder.load(warn))!;
    expect(loaded.progress).toEqual({ epoch: 1, stepInEpoch: 2, globalStep: 3, bestScore: -21.5 });
    expect(loaded.notes).toEqual({ steps: { default: 3 } });
    expect(loaded.tensors.get('clip.values.w')!.data).toEqual(Float32Array.of(3, -3));
    expect(warnings).toEqual([]);
    expect((await readdir(path)).sort()).toEqual(['latest', 'previous']);
  });

  const DAMAGES: Record<string, (latest: string) => Promise<void>> = {
    'a flipped bit': (latest) => flipBit(join(latest, 'state.safetensors')),
    'a file cut short': (latest) => truncate(join(latest, 'state.safetensors'), 20),
    'no tensors': (latest) => rm(join(latest, 'state.safetensors')),
    'no state.json': (latest) => rm(join(latest, 'state.json')),
    'a state.json that is no JSON': (latest) => writeFile(join(latest, 'state.json'), '{"format": 1,'),
    'a state.json of something else': (latest) => writeFile(join(latest, 'state.json'), '{"format": 2}'),
    'a negative step': async (latest) => {
      const text = await readFile(join(latest, 'state.json'), 'utf8');
      await writeFile(join(latest, 'state.json'), text.replace('"globalStep": 2', '"globalStep": -2'));
    },
    'an empty folder': async (latest) => {
      await rm(latest, { recursive: true });
      await mkdir(latest);
    },
  };

  it.each(Object.keys(DAMAGES))('names a latest checkpoint with %s and takes the one before', async (damage) => {
    await folder.save(progress(1), state(1));
    await folder.save(progress(2), state(2));
    await DAMAGES[damage]!(join(path, 'latest'));
    const loaded = (await folder.load(warn))!;
    expect(loaded.progress.globalStep).toBe(1);
    expect(loaded.tensors.get('clip.values.w')!.data).toEqual(Float32Array.of(1, -1));
    expect(warnings).toHaveLength(1);
    expect(warnings[0]).toContain(`checkpoint ${join(path, 'latest')} is damaged (`);
    expect(warnings[0]).toContain('trying the checkpoint before it');
  });

  it('refuses to start again in silence when none is whole', async () => {
    await folder.save(progress(1), state(1));
    await folder.save(progress(2), state(2));
    for (const name of ['latest', 'previous']) await flipBit(join(path, name, 'state.safetensors'));
    await expect(folder.load(warn)).rejects.toMatchObject({
      code: 'data_corrupt',
      message: `no whole checkpoint is left in ${path}: delete it to start again`,
    });
    expect(warnings).toHaveLength(2);
  });

  it.each([
    ['clip', identity({ batchSize: 4, seed: 1 }), 'made with other settings (batchSize 8, now 4)'],
    ['clip', identity({ batchSize: 8, seed: 1 }, 'b'), 'made with other pictures'],
    ['clip', identity({ batchSize: 8 }, 'b'), 'made with other settings (seed 1, now not set) and other pictures'],
    ['clip', JSON.stringify({ ...(JSON.parse(IDENTITY) as object), frozen: 'x' }), 'made with another frozen model'],
    ['gpt', IDENTITY, 'one of stage clip, not gpt'],
  ] as const)('refuses to go on with other settings or data: stage %s, %s', async (stage, now, difference) => {
    await folder.save(progress(1), state(1));
    const other = new CheckpointFolder(path, stage, now);
    const latest = join(path, 'latest');
    await expect(other.load(warn)).rejects.toMatchObject({
      code: 'failed_precondition',
      message: `checkpoint ${latest} is ${difference}: go on with what it was made with, or choose another --out`,
    });
    expect(warnings).toEqual([]);
  });

  it('ignores and removes what an interrupted write left, and goes on from one between two renames', async () => {
    await folder.save(progress(1), state(1));
    await mkdir(join(path, '.writing-1'));
    await writeFile(join(path, '.writing-1', 'state.safetensors'), 'half');
    expect((await folder.load(warn))!.progress.globalStep).toBe(1);
    expect(await readdir(path)).toEqual(['latest']);

    await folder.save(progress(2), state(2));
    await rm(join(path, 'latest'), { recursive: true }); // the former latest is `previous`, the new one not there yet
    expect((await folder.load(warn))!.progress.globalStep).toBe(1);
    expect(warnings).toEqual([]);
  });

  it('leaves the old checkpoint alone when a write fails', async () => {
    await folder.save(progress(1), state(1));
    const broken: StageState = {
      tensors: [['w', { dtype: 'float32', shape: [3], data: Float32Array.of(1) }]],
      notes: {},
    };
    await expect(folder.save(progress(2), broken)).rejects.toThrow();
    expect((await folder.load(warn))!.progress.globalStep).toBe(1);
    expect(existsSync(join(path, 'previous'))).toBe(false);
  });

  it('keeps the best apart', async () => {
    await folder.saveBest(progress(1), state(1));
    await folder.save(progress(2), state(2));
    await folder.saveBest(progress(3), state(3));
    expect((await readdir(path)).sort()).toEqual(['best', 'latest']);
    const record = JSON.parse(await readFile(join(path, 'best', 'state.json'), 'utf8')) as { progress: Progress };
    expect(record.progress.globalStep).toBe(3);
  });
});
