import { createHash } from 'node:crypto';
import { mkdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { encodeImage, fromSignedPixels, normalizeRows, type ClipConfig } from '@clip-gen/clip';
import type { ImageDataset } from '@clip-gen/datasets';
import { GraphBuilder } from '@clip-gen/graph';
import { resizeBilinear, Scope } from '@clip-gen/nn';
import { readSafetensors, writeSafetensors } from '@clip-gen/safetensors';
import { emptyTensor, type Tensor } from '@clip-gen/tensor';
import { encodeLatents, gridSide, latentRows, nearestCodes, type VqganConfig } from '@clip-gen/vqgan';
import { hashFile } from '../checkpoint.ts';
import type { ProgressLine } from '../progress-line.ts';
import { StepGraph } from '../step-graph.ts';
import { padBatch } from './vqgan-stage.ts';

/** The frozen networks that turn a picture into what the transformer learns from. */
export interface FrozenModels {
  readonly vqgan: { readonly folder: string; readonly config: VqganConfig; readonly weights: Record<string, Tensor> };
  readonly clip: { readonly folder: string; readonly config: ClipConfig; readonly weights: Record<string, Tensor> };
}

/** Tokens int32 (N, T) and unit embeddings float32 (N, E) of N pictures, in the data set's order. */
export interface PictureTokens {
  readonly tokens: Tensor<'int32'>;
  readonly embeddings: Tensor<'float32'>;
}

const BATCH = 32;

/**
 * Tokens and embeddings of every picture, from `folder` if they were made of the same pictures with the same models,
 * otherwise computed and kept there.
 */
export async function pictureTokens(
  folder: string,
  dataset: ImageDataset,
  frozen: FrozenModels,
  threads: number,
  line: ProgressLine,
): Promise<PictureTokens> {
  const key = createHash('sha256');
  key.update(dataset.fingerprint());
  for (const { folder: model } of [frozen.vqgan, frozen.clip])
    key.update(await hashFile(join(model, 'model.safetensors')));
  const path = join(folder, `tokens-${key.digest('hex').slice(0, 16)}.safetensors`);
  if (await stat(path).catch(() => undefined)) {
    const known = await readSafetensors(path);
    return { tokens: known.get('tokens') as Tensor<'int32'>, embeddings: known.get('embeddings') as Tensor<'float32'> };
  }
  const made = await encodeAll(dataset, frozen, threads, line);
  await mkdir(folder, { recursive: true });
  await writeSafetensors(path, [
    ['tokens', made.tokens],
    ['embeddings', made.embeddings],
  ]);
  return made;
}

async function encodeAll(
  dataset: ImageDataset,
  { vqgan, clip }: FrozenModels,
  threads: number,
  line: ProgressLine,
): Promise<PictureTokens> {
  const length = gridSide(vqgan.config) ** 2;
  const width = clip.config.embeddingSize;
  const tokens = emptyTensor('int32', [dataset.length, length]);
  const embeddings = emptyTensor('float32', [dataset.length, width]);
  const graph = await StepGraph.compile(encodingGraph(vqgan.config, clip.config), threads);
  const values = { ...prefixed('vqgan.', vqgan.weights), ...prefixed('clip.', clip.weights) };
  const started = performance.now();
  let done = 0;
  try {
    for await (const { images } of dataset.batches({ batchSize: BATCH, training: false })) {
      const count = images.shape[0]!;
      const outputs = await graph.run(values, { images: padBatch(images, BATCH) });
      const ids = outputs['tokens']!.data as BigInt64Array;
      for (let i = 0; i < count * length; i++) tokens.data[done * length + i] = Number(ids[i]);
      embeddings.data.set((outputs['embeddings']!.data as Float32Array).subarray(0, count * width), done * width);
      done += count;
      const seconds = (performance.now() - started) / 1000;
      line.update({
        stage: 'encoding pictures',
        epoch: 0,
        epochs: 1,
        step: done,
        stepsPerEpoch: dataset.length,
        metrics: {},
        imagesPerSecond: done / seconds,
        secondsLeft: ((dataset.length - done) * seconds) / done,
      });
    }
  } finally {
    await graph.close();
  }
  return { tokens, embeddings };
}

function encodingGraph(vqgan: VqganConfig, clip: ClipConfig): GraphBuilder {
  const graph = new GraphBuilder('encode-pictures');
  const scope = new Scope(graph);
  const images = graph.input('images', 'float32', [BATCH, 3, vqgan.imageSize, vqgan.imageSize]);
  const autoencoder = scope.child('vqgan');
  graph.output('tokens', nearestCodes(autoencoder, vqgan, latentRows(encodeLatents(autoencoder, vqgan, images))));
  const pixels = fromSignedPixels(resizeBilinear(images, clip.vision.imageSize));
  graph.output('embeddings', normalizeRows(encodeImage(scope.child('clip'), clip, pixels)));
  return graph;
}

export function prefixed(prefix: string, weights: Readonly<Record<string, Tensor>>): Record<string, Tensor> {
  return Object.fromEntries(Object.entries(weights).map(([name, value]) => [prefix + name, value]));
}
