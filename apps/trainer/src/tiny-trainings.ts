import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { clipConfigSchema, type ClipConfig } from '@clip-gen/clip';
import { openImageDataset, type ImageDataset } from '@clip-gen/datasets';
import { encodeImage } from '@clip-gen/image';
import { RandomStream } from '@clip-gen/rng';
import { vqganConfigSchema, type VqganConfig } from '@clip-gen/vqgan';
import {
  clipTrainingSchema,
  gptTrainingSchema,
  parseTraining,
  previewTrainingSchema,
  vqganTrainingSchema,
} from './config.ts';
import { loadFrozenModel } from './frozen-weights.ts';
import { writeModel } from './model-folder.ts';
import { ProgressLine } from './progress-line.ts';
import { ClipStage } from './stages/clip-stage.ts';
import type { FrozenModels } from './stages/frozen-models.ts';
import { VqganStage } from './stages/vqgan-stage.ts';

// The smallest pictures and models that train: for the tests of this folder.

export const TINY_CLIP: ClipConfig = {
  model: 'clip',
  embeddingSize: 8,
  vision: { imageSize: 16, patchSize: 8, width: 8, layers: 1, heads: 1 },
  text: { contextLength: 6, vocabularySize: 514, width: 8, layers: 1, heads: 1 },
};

/** 16 × 16 pixels to 4 × 4 tokens. */
export const TINY_VQGAN: VqganConfig = {
  model: 'vqgan',
  imageSize: 16,
  patchSize: 2,
  channels: 4,
  multipliers: [1, 1],
  blocks: 1,
  attentionSides: [],
  groups: 2,
  codebookSize: 16,
  codeSize: 4,
};

const RUN = { batchSize: 4, epochs: 3, learningRate: 0.01, threads: 1, validationFraction: 0, seed: 5 };

/** Settings of a run of `TINY_CLIP`, checked. */
export function tinyClipTraining(changes: object = {}) {
  return parseTraining(clipTrainingSchema, { ...RUN, model: TINY_CLIP, vocabularySize: 514, ...changes });
}

/** Settings of a run of `TINY_VQGAN`, without a discriminator, which needs larger pictures. */
export function tinyVqganTraining(changes: object = {}) {
  return parseTraining(vqganTrainingSchema, { ...RUN, model: TINY_VQGAN, adversarial: { weight: 0 }, ...changes });
}

/** Settings of a run over the two. */
export function tinyGptTraining(changes: object = {}) {
  const model = {
    model: 'gpt',
    tokens: 16,
    vocabularySize: TINY_VQGAN.codebookSize,
    conditionSize: TINY_CLIP.embeddingSize,
    width: 8,
    layers: 1,
    heads: 1,
  };
  return parseTraining(gptTrainingSchema, { ...RUN, model, ...changes });
}

/** Settings of a preview decoder's run over `TINY_VQGAN`. */
export function tinyPreviewTraining(changes: object = {}) {
  const model = {
    model: 'preview',
    gridSize: 4,
    codebookSize: TINY_VQGAN.codebookSize,
    codeSize: TINY_VQGAN.codeSize,
    channels: [8, 4],
    blocks: [1, 0],
    patchSize: 2,
  };
  return parseTraining(previewTrainingSchema, { ...RUN, model, ...changes });
}

/** Writes pictures of `side` pixels, `0.png` …, a coloured square each, and `captions.jsonl`. */
export async function writePictures(folder: string, count: number, side = 16): Promise<void> {
  await mkdir(folder, { recursive: true });
  const captions: string[] = [];
  for (let i = 0; i < count; i++) {
    const stream = new RandomStream(1, i);
    const [colour, ground] = [[0, 1, 2].map(() => stream.integer(256)), stream.integer(256)];
    const inside = (at: number): boolean => at >= side / 4 && at < side / 2 + (i % (side / 2));
    const data = Uint8Array.from({ length: side * side * 3 }, (_, at) => {
      const pixel = Math.floor(at / 3);
      return inside(pixel % side) && inside(Math.floor(pixel / side)) ? colour[at % 3]! : ground;
    });
    await writeFile(
      join(folder, `${i}.png`),
      await encodeImage({ width: side, height: side, data }, { format: 'png' }),
    );
    captions.push(JSON.stringify({ file: `${i}.png`, captions: [`a square number ${i}`, `square ${i}`] }));
  }
  await writeFile(join(folder, 'captions.jsonl'), `${captions.join('\n')}\n`);
}

/** Opens what `writePictures` wrote. The caller closes it. */
export function openPictures(root: string, imageSize = 16, captions = false): Promise<ImageDataset> {
  return openImageDataset({ root, imageSize, captions, workers: 1, warn: () => undefined });
}

/** A VQGAN and a CLIP as they start, in `vqgan/` and `clip/` of a folder. */
export async function writeFrozenModels(folder: string, pictures: string): Promise<void> {
  const dataset = await openPictures(pictures, 16, true);
  try {
    const vqgan = new VqganStage(tinyVqganTraining(), { network: { kind: 'none' }, weights: {} }, dataset);
    await writeModel(join(folder, 'vqgan'), vqgan.model());
    await writeModel(join(folder, 'clip'), ClipStage.create(tinyClipTraining(), dataset).model());
  } finally {
    await dataset.close();
  }
}

/** Thirteen pictures and the frozen models, in `pictures/` and `models/` of a folder; where they are. */
export async function writeTinyData(folder: string): Promise<{ readonly pictures: string; readonly models: string }> {
  const [pictures, models] = [join(folder, 'pictures'), join(folder, 'models')];
  await writePictures(pictures, 13);
  await writeFrozenModels(models, pictures);
  return { pictures, models };
}

/** What `writeFrozenModels` wrote. */
export async function loadFrozenModels(folder: string): Promise<FrozenModels> {
  return {
    vqgan: await loadFrozenModel(join(folder, 'vqgan'), vqganConfigSchema),
    clip: await loadFrozenModel(join(folder, 'clip'), clipConfigSchema),
  };
}

/** A progress line that keeps what it prints. */
export function recordedLine(): { readonly line: ProgressLine; readonly lines: string[] } {
  const lines: string[] = [];
  return { line: new ProgressLine({ write: (text) => lines.push(text) }), lines };
}
