import { join } from 'node:path';
import type { ImageDataset } from '@clip-gen/datasets';
import { temporaryFolder } from '@clip-gen/testing';
import type { Tensor } from '@clip-gen/tensor';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Metrics, Stage } from './stage.ts';
import { ClipStage } from './stages/clip-stage.ts';
import { GptStage } from './stages/gpt-stage.ts';
import { pictureTokens } from './stages/token-cache.ts';
import { VqganStage } from './stages/vqgan-stage.ts';
import {
  loadFrozenModels,
  openPictures,
  recordedLine,
  TINY_VQGAN,
  tinyClipTraining,
  tinyGptTraining,
  tinyVqganTraining,
  writeFrozenModels,
  writePictures,
} from './tiny-trainings.ts';
import { runTraining, type LoopOptions } from './training-loop.ts';

// A run that is stopped and goes on must be the uninterrupted run, to the last digit: 13 pictures in batches of 4 are
// 3 steps an epoch; stopped in the middle of the first epoch and at the very end of the second one.
const STEPS = 9;
const STOPS = [2, 6];
const PICTURES = 13;

interface Run {
  readonly metrics: readonly Metrics[];
  /** The bytes of every tensor. */
  readonly state: ReadonlyMap<string, Buffer>;
  readonly notes: unknown;
}

/** Steps until `stopAfter` of a stage that goes on from what is in `out`. */
async function run<B>(
  stage: Stage<B>,
  settings: LoopOptions['settings'],
  out: string,
  stopAfter: number,
): Promise<Run> {
  const metrics: Metrics[] = [];
  let steps = 0;
  const { line } = recordedLine();
  try {
    const { progress } = await runTraining(stage, {
      out,
      settings,
      identity: 'test',
      progress: line,
      onStep: (globalStep, values) => {
        steps = globalStep;
        metrics.push(values);
      },
      stopRequested: () => steps === stopAfter,
    });
    expect(progress.globalStep).toBe(stopAfter);
    const { tensors, notes } = stage.state();
    const state = new Map(Array.from(tensors, ([name, { data }]) => [name, bytes(data)]));
    return { metrics, state, notes };
  } finally {
    await stage.close();
  }
}

/** A copy. */
function bytes({ buffer, byteOffset, byteLength }: Tensor['data']): Buffer {
  return Buffer.from(Buffer.from(buffer, byteOffset, byteLength));
}

/** Runs a fresh stage from each stop on, and one without stops; both must agree in everything. */
async function expectExact<B>(
  create: () => Stage<B> | Promise<Stage<B>>,
  settings: LoopOptions['settings'],
): Promise<Run> {
  const whole = await run(await create(), settings, await temporaryFolder(), STEPS);
  expect(whole.metrics).toHaveLength(STEPS);
  for (const values of whole.metrics) expect(Object.values(values).every(Number.isFinite)).toBe(true);
  expect(new Set(whole.metrics.map(({ loss }) => loss)).size).toBe(STEPS);

  const out = await temporaryFolder();
  const parts: Run[] = [];
  for (const stop of [...STOPS, STEPS]) parts.push(await run(await create(), settings, out, stop));
  expect(parts.flatMap(({ metrics }) => metrics)).toEqual(whole.metrics);
  const last = parts.at(-1)!;
  expect([...last.state.keys()]).toEqual([...whole.state.keys()]);
  for (const [name, values] of whole.state) expect(last.state.get(name)!.equals(values), name).toBe(true);
  expect(last.notes).toEqual(whole.notes);
  return whole;
}

describe('goes on to the last digit', { timeout: 240_000 }, () => {
  const datasets: ImageDataset[] = [];
  let pictures: string;
  let small: ImageDataset;

  beforeAll(async () => {
    pictures = await temporaryFolder();
    await writePictures(pictures, PICTURES);
    datasets.push((small = await openPictures(pictures, 16, true)));
  });
  afterAll(async () => {
    for (const dataset of datasets) await dataset.close();
  });

  it('clip', async () => {
    const settings = tinyClipTraining({ averageDecay: 0.9, augmentation: { flip: true, brightness: 0.3 } });
    await expectExact(() => ClipStage.create(settings, small), settings);
  });

  it('vqgan: discriminator from the second epoch, shifted crops, revived codes, averaged weights', async () => {
    const large = await openPictures(pictures, 32);
    datasets.push(large);
    const model = { ...TINY_VQGAN, imageSize: 32 };
    const settings = tinyVqganTraining({
      model,
      adversarial: { weight: 0.8, startEpoch: 1 },
      augmentation: { shiftPixels: 4 },
      reviveSteps: 5, // so that the last window is an unfinished one
      averageDecay: 0.9,
    });
    const { metrics } = await expectExact(
      () => new VqganStage(settings, { network: { kind: 'none' }, weights: {} }, large),
      settings,
    );
    expect(metrics.map((values) => 'discriminator' in values)).toEqual(metrics.map((_, step) => step >= 3));
  });

  it("vqgan: a decoder for another's tokens, which alone moves", async () => {
    const models = await temporaryFolder();
    await writeFrozenModels(models, pictures);
    const { vqgan } = await loadFrozenModels(models);
    const settings = tinyVqganTraining({ reviveSteps: 2 });
    const create = () => new VqganStage(settings, { network: { kind: 'none' }, weights: {} }, small, undefined, vqgan);
    await expectExact(create, settings);

    const stage = create();
    const started = new Map(Array.from(stage.model().weights, ([name, { data }]) => [name, bytes(data)]));
    expect([...started.keys()].sort()).toEqual(Object.keys(vqgan.weights).sort());
    for (const [name, start] of started) expect(start.equals(bytes(vqgan.weights[name]!.data)), name).toBe(true);
    const { line } = recordedLine();
    const out = await temporaryFolder();
    await runTraining(stage, { out, settings, identity: 'test', progress: line, stopRequested: () => false });
    for (const [name, { data }] of stage.model().weights) {
      expect(bytes(data).equals(started.get(name)!), name).toBe(!name.startsWith('decoder.'));
    }
    await stage.close();
  });

  it("vqgan: refuses another's tokens that are not of its sizes", async () => {
    const models = await temporaryFolder();
    await writeFrozenModels(models, pictures);
    const { vqgan } = await loadFrozenModels(models);
    const settings = tinyVqganTraining({ model: { ...TINY_VQGAN, codebookSize: 8 } });
    expect(() => new VqganStage(settings, { network: { kind: 'none' }, weights: {} }, small, undefined, vqgan)).toThrow(
      /--tokens-of .*quantizer\.embedding\.weight must be \[8, 4\]; got \[16, 4\]/,
    );
  });

  it('gpt: dropped and noisy conditions, replaced tokens, embedding loss', async () => {
    const models = await temporaryFolder();
    await writeFrozenModels(models, pictures);
    const frozen = await loadFrozenModels(models);
    const { line } = recordedLine();
    const cache = { folder: join(models, 'cache'), root: pictures, threads: 1, line };
    const tokens = await pictureTokens(small, frozen, cache);
    const settings = tinyGptTraining({
      conditionDropout: 0.3,
      conditionNoise: 0.5,
      tokenNoise: 0.5,
      embeddingLoss: 0.5,
    });
    const { metrics } = await expectExact(() => new GptStage(settings, frozen, tokens), settings);
    expect(metrics.every(({ embedding }) => embedding! > 0)).toBe(true);
  });
});
