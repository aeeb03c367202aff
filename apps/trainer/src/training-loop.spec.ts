import { existsSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { ImageBatch, ImageDataset } from '@clip-gen/datasets';
import { readSafetensors } from '@clip-gen/safetensors';
import type { Tensor } from '@clip-gen/tensor';
import { expectClose, temporaryFolder } from '@clip-gen/testing';
import { vqganConfigSchema } from '@clip-gen/vqgan';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { CheckpointFolder, type Progress } from './checkpoint.ts';
import { loadFrozenModel } from './frozen-weights.ts';
import { learningRates } from './learning-rate.ts';
import { ClipStage } from './stages/clip-stage.ts';
import { GptStage } from './stages/gpt-stage.ts';
import { pictureTokens } from './stages/token-cache.ts';
import { VqganStage } from './stages/vqgan-stage.ts';
import {
  loadFrozenModels,
  openPictures,
  recordedLine,
  tinyClipTraining,
  tinyGptTraining,
  tinyVqganTraining,
  writeFrozenModels,
  writePictures,
} from './tiny-trainings.ts';
import { runTraining } from './training-loop.ts';

const NO_NETWORK = { network: { kind: 'none' }, weights: {} } as const;
const SLOW = 180_000;

let pictures: string;
let dataset: ImageDataset;
let training: ImageDataset; // 12
let onePicture: ImageDataset;

beforeAll(async () => {
  pictures = await temporaryFolder();
  await writePictures(pictures, 13);
  dataset = await openPictures(pictures, 16, true);
  training = dataset.subset((file) => file !== '3.png');
  onePicture = dataset.subset((file) => file === '3.png');
});
afterAll(() => dataset.close());

describe('runTraining', () => {
  it('writes events, the best checkpoint and the model', { timeout: SLOW }, async () => {
    const settings = tinyVqganTraining({ epochs: 4, warmupEpochs: 1 });
    const stage = new VqganStage(settings, NO_NETWORK, training, onePicture);
    const out = await temporaryFolder();
    const { line, lines } = recordedLine();
    const options = { out, settings, identity: 'test', progress: line, stopRequested: () => false };
    const summary = await runTraining(stage, options);
    await stage.close();
    expect(summary).toMatchObject({ finished: true, progress: { epoch: 4, stepInEpoch: 0, globalStep: 12 } });

    const events = await readEvents(join(out, 'events'));
    const stepsOf = (tag: string): number[] => events.filter((event) => event.tag === tag).map(({ step }) => step);
    const valuesOf = (tag: string): number[] => events.filter((event) => event.tag === tag).map(({ value }) => value!);
    for (const name of ['loss', 'psnr', 'quantizer', 'codes', 'learning_rate', 'images_per_second']) {
      expect(stepsOf(`train/${name}`), name).toEqual([10]);
    }
    expectClose(valuesOf('train/learning_rate'), [learningRates(settings, 3)(9)], { relative: 1e-6 });
    for (const tag of ['validation/psnr', 'validation/mse', 'reconstruction']) {
      expect(stepsOf(tag), tag).toEqual([3, 6, 9, 12]);
    }
    const png = events.find(({ tag }) => tag === 'reconstruction')!.png!;
    expect(png.subarray(1, 4).toString()).toBe('PNG');

    // The best is the epoch of the highest validation PSNR, not the last one to be written.
    const best = JSON.parse(await readFile(join(out, 'checkpoints/best/state.json'), 'utf8')) as { progress: Progress };
    const highest = Math.max(...valuesOf('validation/psnr'));
    expectClose([best.progress.bestScore!], [-highest], { relative: 1e-6 });
    expect(best.progress.epoch).toBe(valuesOf('validation/psnr').indexOf(highest) + 1);
    const model = await readSafetensors(join(out, 'best/model.safetensors'));
    const state = await readSafetensors(join(out, 'checkpoints/best/state.safetensors'));
    const name = 'quantizer.embedding.weight';
    expect(model.get(name)!.data).toEqual(state.get(`generator.values.${name}`)!.data);
    expect((await loadFrozenModel(join(out, 'best'), vqganConfigSchema)).config).toEqual(settings.model);
    expect(lines.filter((text) => text.includes('validation'))).toHaveLength(4);
    expect((await readdir(out)).sort()).toEqual(['best', 'checkpoints', 'config.json', 'events', 'model.safetensors']);
  });

  it('goes on without a best checkpoint when there is nothing to validate with', { timeout: SLOW }, async () => {
    const settings = tinyClipTraining({ epochs: 1 });
    const out = await temporaryFolder();
    const { line } = recordedLine();
    for (const validation of [undefined, onePicture]) {
      const stage = ClipStage.create(settings, training, validation);
      const options = { out, settings, identity: 'test', progress: line, stopRequested: () => false };
      expect((await runTraining(stage, options)).progress).toMatchObject({ globalStep: 3, bestScore: null });
      await stage.close();
    }
    for (const best of ['best', 'checkpoints/best']) expect(existsSync(join(out, best))).toBe(false);
    expect((await readdir(out)).sort()).toContain('tokenizer.json');
  });

  it('names skipped steps, and gives up when no gradient is finite any more', { timeout: SLOW }, async () => {
    const settings = tinyClipTraining({ epochs: 100 });
    const out = await temporaryFolder();
    const stage = ClipStage.create(settings, training);
    const { tensors, notes } = stage.state();
    const broken = Array.from(tensors, ([name, tensor]): [string, Tensor] => {
      if (name !== 'clip.values.visual.proj') return [name, tensor];
      return [name, { ...tensor, data: new Float32Array(tensor.data.length).fill(Infinity) }];
    });
    const folder = new CheckpointFolder(join(out, 'checkpoints'), 'clip', 'test');
    await folder.save({ epoch: 0, stepInEpoch: 0, globalStep: 0, bestScore: null }, { tensors: broken, notes });
    const { line, lines } = recordedLine();
    const options = { out, settings, identity: 'test', progress: line, stopRequested: () => false };
    await expect(runTraining(stage, options)).rejects.toMatchObject({
      code: 'internal',
      message: expect.stringMatching(
        /^the last 100 steps had gradients that are not finite: .* --set learningRate=0\.00333/,
      ),
    });
    await stage.close();
    expect(lines).toContain('step 1: a gradient is not finite; the step was skipped\n');
    expect(lines.filter((text) => text.includes('was skipped'))).toHaveLength(99);
  });

  it('refuses notes that are not its own', () => {
    const stage = ClipStage.create(tinyClipTraining(), training);
    const tensors = new Map(stage.state().tensors);
    for (const notes of [{}, { steps: 3 }, { steps: { default: -1 } }, { steps: { default: 1 }, more: 1 }]) {
      expect(() => stage.restore(tensors, notes)).toThrow("the checkpoint's notes");
    }
    expect(() => stage.restore(new Map(), { steps: { default: 1 } })).toThrow('is missing');
    expect(() => stage.restore(tensors, { steps: { other: 1 } })).toThrow('groups other');
  });
});

describe('a step that is not finite', () => {
  it('moves no weight, no average and no code of a VQGAN', { timeout: SLOW }, async () => {
    const settings = tinyVqganTraining({ reviveSteps: 1, averageDecay: 0.9 });
    const stage = new VqganStage(settings, NO_NETWORK, training);
    const copy = (): Map<string, number[]> =>
      new Map(Array.from(stage.state().tensors, ([name, { data }]) => [name, Array.from(data, Number)]));
    const context = { epoch: 0, globalStep: 0, learningRate: 0.01 };
    let batch: ImageBatch | undefined;
    for await (const first of stage.batches(0, 0)) {
      batch ??= first;
    }
    await stage.step(batch!, context);
    const before = copy();
    batch!.images.data[5] = NaN;
    const metrics = await stage.step(batch!, { ...context, globalStep: 1 });
    expect(metrics['skipped']).toBe(1);
    expect(metrics['loss']).toBeNaN();
    expect(copy()).toEqual(before);
    batch!.images.data[5] = 0;
    expect(await stage.step(batch!, { ...context, globalStep: 2 })).not.toHaveProperty('skipped');
    expect(copy()).not.toEqual(before);
    await stage.close();
  });
});

describe('few pictures', () => {
  it('are refused when they do not fill a batch', async () => {
    const models = await temporaryFolder();
    await writeFrozenModels(models, pictures);
    const frozen = await loadFrozenModels(models);
    const few = dataset.subset((file) => file.startsWith('1')); // 1, 10, 11, 12
    const { line } = recordedLine();
    const tokens = await pictureTokens(few, frozen, { folder: models, root: pictures, threads: 1, line });
    const message = 'batchSize must be at most the number of training pictures, 4; got 5; e.g. --set batchSize=4';
    const settings = { batchSize: 5 };
    expect(() => ClipStage.create(tinyClipTraining(settings), few)).toThrow(message);
    expect(() => new VqganStage(tinyVqganTraining(settings), NO_NETWORK, few)).toThrow(message);
    expect(() => new GptStage(tinyGptTraining(settings), frozen, tokens)).toThrow(message);
  });

  it('one is enough to validate and show a GPT', { timeout: SLOW }, async () => {
    const models = await temporaryFolder();
    await writeFrozenModels(models, pictures);
    const frozen = await loadFrozenModels(models);
    const { line } = recordedLine();
    const cache = { folder: models, root: pictures, threads: 1, line };
    const [many, one] = [await pictureTokens(training, frozen, cache), await pictureTokens(onePicture, frozen, cache)];
    const stage = new GptStage(tinyGptTraining(), frozen, many, one);
    const { score, metrics } = (await stage.validate())!;
    expect(score).toBe(metrics['cross_entropy']);
    expect(score).toBeGreaterThan(0);
    const sheet = (await stage.illustrate()).get('teacher_forced')!;
    expect(sheet.width).toBeGreaterThanOrEqual(4 * 16);
    await stage.close();
    const without = new GptStage(tinyGptTraining({ validationBatches: 0 }), frozen, many, one);
    expect(await without.validate()).toBeUndefined();
    expect(await without.illustrate()).toEqual(new Map());
  });
});

interface LoggedEvent {
  readonly step: number;
  readonly tag: string;
  readonly value?: number;
  readonly png?: Buffer;
}

/** Scalars and pictures of the one event file in a folder: TFRecords of Event messages of TensorBoard. */
async function readEvents(folder: string): Promise<LoggedEvent[]> {
  const [name, ...others] = await readdir(folder);
  expect(others).toEqual([]);
  const file = await readFile(join(folder, name!));
  const events: LoggedEvent[] = [];
  for (let at = 0; at < file.length;) {
    const length = Number(file.readBigUInt64LE(at));
    const event = fields(file.subarray(at + 12, at + 12 + length));
    at += 16 + length;
    const step = Number(event.get(2)?.[0] ?? 0);
    for (const summary of event.get(5) ?? []) {
      for (const bytes of fields(summary as Buffer).get(1) ?? []) {
        const value = fields(bytes as Buffer);
        const [tag, number, image] = [value.get(1)![0], value.get(2)?.[0], value.get(4)?.[0]];
        events.push({
          step,
          tag: String(tag),
          ...(number === undefined ? {} : { value: (number as Buffer).readFloatLE() }),
          ...(image === undefined ? {} : { png: fields(image as Buffer).get(4)![0] as Buffer }),
        });
      }
    }
  }
  return events;
}

/** Fields of a protobuf message by number: varints as numbers, all else as bytes. */
function fields(message: Buffer): Map<number, (number | Buffer)[]> {
  const found = new Map<number, (number | Buffer)[]>();
  let at = 0;
  const varint = (): number => {
    let value = 0;
    for (let shift = 1; ; shift *= 128) {
      const byte = message[at++]!;
      value += (byte & 127) * shift;
      if (byte < 128) return value;
    }
  };
  while (at < message.length) {
    const key = varint();
    const kind = key & 7;
    const size = kind === 1 ? 8 : kind === 5 ? 4 : undefined;
    const value = kind === 0 ? varint() : take(size ?? varint());
    found.set(key >> 3, [...(found.get(key >> 3) ?? []), value]);
  }
  return found;

  function take(size: number): Buffer {
    return message.subarray(at, (at += size));
  }
}
