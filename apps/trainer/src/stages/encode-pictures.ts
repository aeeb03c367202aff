import { encodeImage, fromSignedPixels, normalizeRows, type ClipConfig } from '@clip-gen/clip';
import type { ImageDataset } from '@clip-gen/datasets';
import { GraphBuilder } from '@clip-gen/graph';
import { resizeBilinear, Scope } from '@clip-gen/nn';
import { emptyTensor, tensor, type Tensor } from '@clip-gen/tensor';
import { encodeLatents, gridSide, latentRows, nearestCodes, type VqganConfig } from '@clip-gen/vqgan';
import type { ProgressLine } from '../progress-line.ts';
import { StepGraph } from '../step-graph.ts';
import { frozenValues, type FrozenModels, type GraphOverFrozen } from './frozen-models.ts';
import { padBatch } from './pad-batch.ts';

/** Tokens int32 (N, T) and unit embeddings float32 (N, E) of N pictures, in the data set's order. */
export interface PictureTokens {
  readonly tokens: Tensor<'int32'>;
  readonly embeddings: Tensor<'float32'>;
}

const BATCH = 32;

/**
 * Runs every picture through the frozen networks. One that turns out to be unreadable is left out.
 *
 * @param threads 0 = all cores
 * @param checkStop called between batches; what it throws ends the work
 * @throws failed_precondition when a model lacks a weight
 */
export async function encodePictures(
  dataset: ImageDataset,
  frozen: FrozenModels,
  threads: number,
  line: ProgressLine,
  checkStop: () => void = () => undefined,
): Promise<PictureTokens> {
  const length = gridSide(frozen.vqgan.config) ** 2;
  const width = frozen.clip.config.embeddingSize;
  const tokens = emptyTensor('int32', [dataset.length, length]);
  const embeddings = emptyTensor('float32', [dataset.length, width]);
  const { graph, specs } = encodingGraph(frozen.vqgan.config, frozen.clip.config);
  const values = frozenValues(frozen, specs);
  const session = await StepGraph.compile(graph, threads);
  const started = performance.now();
  let done = 0;
  try {
    for await (const { images } of dataset.batches({ batchSize: BATCH, training: false })) {
      checkStop();
      const count = images.shape[0]!;
      const outputs = await session.run(values, { images: padBatch(images, BATCH) });
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
    await session.close();
  }
  return {
    tokens: tensor('int32', [done, length], tokens.data.subarray(0, done * length)),
    embeddings: tensor('float32', [done, width], embeddings.data.subarray(0, done * width)),
  };
}

function encodingGraph(vqgan: VqganConfig, clip: ClipConfig): GraphOverFrozen {
  const graph = new GraphBuilder('encode-pictures');
  const scope = new Scope(graph);
  const images = graph.input('images', 'float32', [BATCH, 3, vqgan.imageSize, vqgan.imageSize]);
  const autoencoder = scope.child('vqgan');
  graph.output('tokens', nearestCodes(autoencoder, vqgan, latentRows(encodeLatents(autoencoder, vqgan, images))));
  const pixels = fromSignedPixels(resizeBilinear(images, clip.vision.imageSize));
  graph.output('embeddings', normalizeRows(encodeImage(scope.child('clip'), clip, pixels)));
  return { graph, specs: scope.specs };
}
