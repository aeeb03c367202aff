import {
  CLIP_PRESETS,
  clipConfigSchema,
  encodeImage,
  encodeText,
  fromSignedPixels,
  logitScale,
  normalizeRows,
  type ClipConfig,
} from '@clip-gen/clip';
import type { ImageBatch, ImageDataset } from '@clip-gen/datasets';
import { ClipGenError } from '@clip-gen/errors';
import { concat, GraphBuilder, slice, type Value } from '@clip-gen/graph';
import type { RgbImage } from '@clip-gen/image';
import { contrastive } from '@clip-gen/losses';
import { Scope, type ParameterSpec } from '@clip-gen/nn';
import { tensor, type Tensor } from '@clip-gen/tensor';
import { createClipTokenizer, cutVocabulary, tokenizerToJson, type ClipTokenizer } from '@clip-gen/tokenizer';
import type { ClipTraining } from '../config.ts';
import { batchShare, wholeBatches } from '../distributed/batch-share.ts';
import { World } from '../distributed/world.ts';
import { oneOptimizerNotes, parseNotes } from '../saved-state.ts';
import type { Metrics, ModelFiles, Stage, StageState, StepContext, Validation } from '../stage.ts';
import { outputGradients, scalarOf, StepGraph } from '../step-graph.ts';
import { Trainable } from '../trainable.ts';

const LOGIT_SCALE = 'logit_scale';
/** openai/CLIP never scales similarities by more than 100. */
const MAX_LOGIT_SCALE = Math.log(100);

/** CLIP training (arXiv 2103.00020) on pairs of pictures and captions: the only stage that reads text. */
export class ClipStage implements Stage<ImageBatch> {
  readonly name = 'clip';
  readonly batchSize: number;
  readonly stepsPerEpoch: number;
  readonly #trainable: Trainable;
  #training: StepGraph | undefined;
  #evaluation: StepGraph | undefined;

  private constructor(
    readonly settings: ClipTraining,
    readonly config: ClipConfig,
    readonly tokenizer: ClipTokenizer,
    readonly training: ImageDataset,
    readonly validation: ImageDataset | undefined,
    readonly world: World,
  ) {
    this.batchSize = settings.batchSize;
    this.stepsPerEpoch = wholeBatches(training.length, batchShare(settings, world));
    this.#trainable = new Trainable(contrastiveGraph(config, settings.batchSize).specs, settings);
  }

  /**
   * Cuts the vocabulary to the captions of the training pictures, unless the settings ask for all of OpenAI's.
   *
   * @throws invalid_argument for a batch that is divided: its loss compares every caption with every picture
   */
  static create(
    settings: ClipTraining,
    training: ImageDataset,
    validation?: ImageDataset,
    world = World.alone(),
  ): ClipStage {
    ClipStage.check(settings, world);
    const whole = createClipTokenizer();
    const config = ClipStage.config(settings);
    if (settings.vocabularySize === 0) {
      return new ClipStage(settings, config, whole, training, validation, world);
    }
    const captions = training.files.flatMap((_, i) => [...training.captionsOf(i)]);
    const { tokenizer } = cutVocabulary(whole, captions, settings.vocabularySize);
    const text = { ...config.text, vocabularySize: tokenizer.vocabularySize };
    return new ClipStage(settings, { ...config, text }, tokenizer, training, validation, world);
  }

  /** @throws invalid_argument for a batch that is divided */
  static check({ accumulate, batchSize }: ClipTraining, { size }: World): void {
    if (accumulate * size === 1) return;
    throw new ClipGenError(
      'invalid_argument',
      `clip compares every picture with every caption of a batch, which one process must hold: train it without --nproc and ` +
        `--accumulate, e.g. with --set batchSize=${batchSize * accumulate * size}`,
    );
  }

  static config(settings: ClipTraining): ClipConfig {
    const { model } = settings;
    return typeof model === 'string' ? clipConfigSchema.parse(CLIP_PRESETS[model]) : model;
  }

  batches(epoch: number, startStep: number): AsyncIterable<ImageBatch> {
    const { batchSize, seed, augmentation } = this.settings;
    return this.training.batches({ batchSize, training: true, seed, epoch, startStep, augmentation });
  }

  async step(batch: ImageBatch, { learningRate, onChange }: StepContext): Promise<Metrics> {
    this.#training ??= await StepGraph.compile(
      contrastiveGraph(this.config, this.batchSize).graph,
      this.settings.threads,
    );
    const feeds = { images: batch.images, tokens: this.#tokens(batch.captions!) };
    const outputs = await this.#training.run(this.#trainable.values, feeds, this.#trainable.into());
    const { skipped } = await this.#trainable.step(learningRate, this.world, onChange);
    const scale = this.#trainable.arena.values.get(LOGIT_SCALE)!.data;
    scale[0] = Math.min(scale[0]!, MAX_LOGIT_SCALE);
    return { loss: scalarOf(outputs, 'loss'), scale: Math.exp(scale[0]), ...(skipped ? { skipped: 1 } : {}) };
  }

  /** Whole batches only: the loss depends on how many captions there are to choose from. None of fewer than two. */
  async validate(): Promise<Validation | undefined> {
    const batchSize = Math.min(this.batchSize, this.validation?.length ?? 0);
    if (!this.validation || batchSize < 2) return undefined;
    this.#evaluation ??= await StepGraph.compile(forward(this.config, batchSize).graph, this.settings.threads);
    let loss = 0;
    let batches = 0;
    for await (const batch of this.validation.batches({ batchSize, training: false })) {
      if (batches === this.settings.validationBatches || batch.images.shape[0] !== batchSize) break;
      const feeds = { images: batch.images, tokens: this.#tokens(batch.captions!) };
      loss += scalarOf(await this.#evaluation.run(Object.fromEntries(this.#trainable.weights), feeds), 'loss');
      batches++;
    }
    if (batches === 0) return undefined;
    const score = loss / batches;
    return { score, metrics: { loss: score } };
  }

  illustrate(): Promise<ReadonlyMap<string, RgbImage>> {
    return Promise.resolve(new Map());
  }

  state(): StageState {
    return { tensors: this.#trainable.tensors('clip'), notes: { steps: this.#trainable.steps } };
  }

  restore(tensors: ReadonlyMap<string, Tensor>, notes: Readonly<Record<string, unknown>>): void {
    this.#trainable.restore('clip', tensors, parseNotes(oneOptimizerNotes, notes).steps);
  }

  model(): ModelFiles {
    const files = new Map([['tokenizer.json', tokenizerToJson(this.tokenizer)]]);
    return { config: this.config, weights: this.#trainable.weights, files };
  }

  async close(): Promise<void> {
    await this.#training?.close();
    await this.#evaluation?.close();
  }

  /** Captions as int64 ids (B, context); what does not fit is cut. */
  #tokens(captions: readonly string[]): Tensor<'int64'> {
    const { contextLength } = this.config.text;
    const ids = new BigInt64Array(captions.length * contextLength);
    captions.forEach((caption, row) => {
      const tokens = this.tokenizer.tokenize(caption, { contextLength, truncate: true });
      tokens.forEach((token, i) => (ids[row * contextLength + i] = BigInt(token)));
    });
    return tensor('int64', [captions.length, contextLength], ids);
  }
}

interface Forward {
  readonly graph: GraphBuilder;
  readonly scope: Scope;
  readonly loss: Value;
}

function forward(config: ClipConfig, batch: number): Forward {
  const graph = new GraphBuilder('clip-step');
  const scope = new Scope(graph);
  const { imageSize } = config.vision;
  const images = graph.input('images', 'float32', [batch, 3, imageSize, imageSize]);
  const tokens = graph.input('tokens', 'int64', [batch, config.text.contextLength]);
  const imageRows = normalizeRows(inChunks(images, (part) => encodeImage(scope, config, fromSignedPixels(part))));
  const textRows = normalizeRows(inChunks(tokens, (part) => encodeText(scope, config, part)));
  const loss = contrastive(imageRows, textRows, logitScale(scope));
  graph.output('loss', loss);
  return { graph, scope, loss };
}

/** Rows that a tower encodes at a time: with more, what one operator writes has left the cache when the next reads it. */
const CHUNK = 32;

/** `encode` of (B, …) in chunks of rows, put together again. */
function inChunks(rows: Value, encode: (part: Value) => Value): Value {
  const batch = rows.shape[0] as number;
  if (batch <= CHUNK) return encode(rows);
  const parts: Value[] = [];
  for (let start = 0; start < batch; start += CHUNK) {
    parts.push(encode(slice(rows, 0, start, Math.min(batch, start + CHUNK))));
  }
  return concat(parts, 0);
}

function contrastiveGraph(config: ClipConfig, batch: number): { graph: GraphBuilder; specs: readonly ParameterSpec[] } {
  const { graph, scope, loss } = forward(config, batch);
  outputGradients(
    graph,
    loss,
    graph.parameters.map((parameter) => parameter.name),
  );
  return { graph, specs: scope.specs };
}
