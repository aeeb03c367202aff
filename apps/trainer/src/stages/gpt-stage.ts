import { encodeImage, fromSignedPixels, normalizeRows } from '@clip-gen/clip';
import type { ImageDataset } from '@clip-gen/datasets';
import { ClipGenError } from '@clip-gen/errors';
import { GPT_PRESETS, gptConfigSchema, predictTokens, type GptConfig } from '@clip-gen/gpt';
import { add, argMax, GraphBuilder, mul, reshape, slice, transpose, type Value } from '@clip-gen/graph';
import { contactSheet, tensorToImages, type RgbImage } from '@clip-gen/image';
import { mse, straightThroughCodes, tokenCrossEntropy } from '@clip-gen/losses';
import { resizeBilinear, Scope, type ParameterSpec } from '@clip-gen/nn';
import { RandomStream } from '@clip-gen/rng';
import { tensor, type Tensor } from '@clip-gen/tensor';
import { codebook, decodeLatents, gridSide, lookUp } from '@clip-gen/vqgan';
import type { GptTraining } from '../config.ts';
import type { ProgressLine } from '../progress-line.ts';
import type { Metrics, ModelFiles, Stage, StageState, StepContext } from '../stage.ts';
import { outputGradients, scalarOf, StepGraph } from '../step-graph.ts';
import { Trainable } from '../trainable.ts';
import { pictureTokens, prefixed, type FrozenModels, type PictureTokens } from './token-cache.ts';

/** Rows of the data set and their place in the epoch. */
export interface GptBatch {
  readonly step: number;
  readonly epoch: number;
  readonly rows: readonly number[];
}

const ORDER_STREAM = 0x6f72;
const CONDITION_STREAM = 0x636f;
/** Pictures of the validation contact sheet. */
const SHOWN = 16;

/** Training of the conditional transformer (arXiv 2203.00386, section 3.3): images alone. */
export class GptStage implements Stage<GptBatch> {
  readonly name = 'gpt';
  readonly batchSize: number;
  readonly stepsPerEpoch: number;
  readonly #trainable: Trainable;
  readonly #frozenValues: Record<string, Tensor>;
  #training: StepGraph | undefined;
  #evaluation: StepGraph | undefined;

  private constructor(
    readonly settings: GptTraining,
    readonly config: GptConfig,
    readonly frozen: FrozenModels,
    readonly training: PictureTokens,
    readonly validation: PictureTokens | undefined,
  ) {
    this.batchSize = settings.batchSize;
    this.stepsPerEpoch = Math.floor(training.tokens.shape[0]! / settings.batchSize);
    if (this.stepsPerEpoch === 0) {
      throw new ClipGenError(
        'invalid_argument',
        `batchSize must be at most the number of pictures, ${training.tokens.shape[0]}; got ${settings.batchSize}`,
      );
    }
    this.#frozenValues = { ...prefixed('vqgan.', frozen.vqgan.weights), ...prefixed('clip.', frozen.clip.weights) };
    const { specs } = trainingGraph(config, settings, frozen);
    this.#trainable = new Trainable(
      specs.filter(({ name }) => !isFrozen(name)),
      settings,
    );
  }

  /** Computes, or reads from `cacheFolder`, tokens and embeddings of all pictures first. */
  static async create(
    settings: GptTraining,
    frozen: FrozenModels,
    training: ImageDataset,
    validation: ImageDataset | undefined,
    cacheFolder: string,
    line: ProgressLine,
  ): Promise<GptStage> {
    const config = GptStage.config(settings, frozen);
    const encode = (dataset: ImageDataset): Promise<PictureTokens> =>
      pictureTokens(cacheFolder, dataset, frozen, settings.threads, line);
    const known = await encode(training);
    return new GptStage(settings, config, frozen, known, validation && (await encode(validation)));
  }

  /** @throws failed_precondition when an explicit configuration does not fit the VQGAN and CLIP */
  static config(settings: GptTraining, { vqgan, clip }: FrozenModels): GptConfig {
    const follows = {
      tokens: gridSide(vqgan.config) ** 2,
      vocabularySize: vqgan.config.codebookSize,
      conditionSize: clip.config.embeddingSize,
    };
    const { model } = settings;
    if (typeof model === 'string') return gptConfigSchema.parse({ ...GPT_PRESETS[model], ...follows });
    for (const [name, value] of Object.entries(follows)) {
      const given = model[name as keyof typeof follows];
      if (given !== value) {
        throw new ClipGenError(
          'failed_precondition',
          `model.${name} must be ${value}, as the VQGAN and CLIP have it; got ${given}`,
        );
      }
    }
    return model;
  }

  async *batches(epoch: number, startStep: number): AsyncGenerator<GptBatch> {
    const order = new RandomStream(this.settings.seed, ORDER_STREAM, epoch).shuffle(
      Uint32Array.from({ length: this.training.tokens.shape[0]! }, (_, i) => i),
    );
    for (let step = startStep; step < this.stepsPerEpoch; step++) {
      yield { step, epoch, rows: [...order.subarray(step * this.batchSize, (step + 1) * this.batchSize)] };
      await Promise.resolve();
    }
  }

  async step(batch: GptBatch, { learningRate }: StepContext): Promise<Metrics> {
    this.#training ??= await StepGraph.compile(
      trainingGraph(this.config, this.settings, this.frozen).graph,
      this.settings.threads,
    );
    const feeds = this.#feeds(this.training, batch.rows);
    this.#disturb(feeds.condition, batch);
    const outputs = await this.#training.run(
      { ...this.#frozenValues, ...this.#trainable.values },
      feeds,
      this.#trainable.gradients,
    );
    const { skipped, norm } = this.#trainable.step(learningRate);
    return {
      loss: scalarOf(outputs, 'loss'),
      norm,
      ...(outputs['embedding'] ? { embedding: scalarOf(outputs, 'embedding') } : {}),
      ...(skipped ? { skipped: 1 } : {}),
    };
  }

  async validate(): Promise<{ score: number; metrics: Metrics }> {
    if (!this.validation) return { score: 0, metrics: {} };
    let loss = 0;
    let count = 0;
    for (const rows of this.#validationRows()) {
      const outputs = await this.#evaluate(rows);
      loss += scalarOf(outputs, 'cross_entropy');
      count++;
    }
    return { score: loss / Math.max(1, count), metrics: { cross_entropy: loss / Math.max(1, count) } };
  }

  /** Held-back pictures as the VQGAN keeps them, above the most likely token at each position given the true ones. */
  async illustrate(): Promise<ReadonlyMap<string, RgbImage>> {
    const [rows] = this.#validationRows();
    if (!rows) return new Map();
    const outputs = await this.#evaluate(rows);
    const pictures = (name: string): RgbImage[] => tensorToImages(outputs[name] as Tensor<'float32'>).slice(0, SHOWN);
    const sheet = await contactSheet([...pictures('true_pictures'), ...pictures('predicted_pictures')], {
      columns: Math.min(SHOWN, this.batchSize),
    });
    return new Map([['teacher_forced', sheet]]);
  }

  state(): StageState {
    return { tensors: this.#trainable.tensors('gpt'), notes: { steps: this.#trainable.steps } };
  }

  restore(tensors: ReadonlyMap<string, Tensor>, notes: Readonly<Record<string, unknown>>): void {
    this.#trainable.restore('gpt', tensors, notes['steps'] as Record<string, number>);
  }

  model(): ModelFiles {
    return { config: this.config, weights: this.#trainable.weights };
  }

  async close(): Promise<void> {
    await this.#training?.close();
    await this.#evaluation?.close();
  }

  async #evaluate(rows: readonly number[]): Promise<Record<string, Tensor>> {
    this.#evaluation ??= await StepGraph.compile(
      evaluationGraph(this.config, this.batchSize, this.frozen),
      this.settings.threads,
    );
    const values = { ...this.#frozenValues, ...Object.fromEntries(this.#trainable.weights) };
    return this.#evaluation.run(values, this.#feeds(this.validation!, rows));
  }

  /** Whole validation batches; a set smaller than a batch is repeated to fill one. */
  #validationRows(): number[][] {
    const count = this.validation?.tokens.shape[0] ?? 0;
    if (count === 0) return [];
    const batches = Math.min(this.settings.validationBatches, Math.max(1, Math.floor(count / this.batchSize)));
    return Array.from({ length: batches }, (_, b) =>
      Array.from({ length: this.batchSize }, (_, i) => (b * this.batchSize + i) % count),
    );
  }

  #feeds({ tokens, embeddings }: PictureTokens, rows: readonly number[]) {
    const length = this.config.tokens;
    const width = this.config.conditionSize;
    const ids = new BigInt64Array(rows.length * length);
    const condition = new Float32Array(rows.length * width);
    rows.forEach((row, b) => {
      for (let t = 0; t < length; t++) ids[b * length + t] = BigInt(tokens.data[row * length + t]!);
      condition.set(embeddings.data.subarray(row * width, (row + 1) * width), b * width);
    });
    return {
      tokens: tensor('int64', [rows.length, length], ids),
      condition: tensor('float32', [rows.length, width], condition),
    };
  }

  /** Adds the noise to, and drops, conditions in place: a function of (seed, epoch, step). */
  #disturb(condition: Tensor<'float32'>, { epoch, step }: GptBatch): void {
    const { conditionDropout, conditionNoise, seed } = this.settings;
    const stream = new RandomStream(seed, CONDITION_STREAM + epoch, step);
    const [batch, width] = condition.shape as [number, number];
    for (let b = 0; b < batch; b++) {
      const row = condition.data.subarray(b * width, (b + 1) * width);
      const drop = stream.uniform() < conditionDropout;
      if (conditionNoise > 0) perturb(row, conditionNoise, stream);
      if (drop) row.fill(0);
    }
  }
}

/** row + noise·u for a random unit vector u, scaled back to unit length, in place. */
function perturb(row: Float32Array, noise: number, stream: RandomStream): void {
  const direction = Float64Array.from(row, () => stream.normal());
  const scale = noise / Math.hypot(...direction);
  for (let i = 0; i < row.length; i++) row[i]! += direction[i]! * scale;
  const length = Math.hypot(...row);
  for (let i = 0; i < row.length; i++) row[i]! /= length;
}

function isFrozen(name: string): boolean {
  return name.startsWith('vqgan.') || name.startsWith('clip.');
}

interface Built {
  readonly graph: GraphBuilder;
  readonly specs: readonly ParameterSpec[];
}

interface Forward {
  readonly graph: GraphBuilder;
  readonly scope: Scope;
  readonly tokens: Value;
  readonly condition: Value;
  readonly logits: Value;
  readonly loss: Value;
}

function forward(config: GptConfig, batch: number): Forward {
  const graph = new GraphBuilder('gpt-step');
  const scope = new Scope(graph);
  const tokens = graph.input('tokens', 'int64', [batch, config.tokens]);
  const condition = graph.input('condition', 'float32', [batch, config.conditionSize]);
  const logits = predictTokens(scope, config, condition, slice(tokens, 1, 0, config.tokens - 1));
  return { graph, scope, tokens, condition, logits, loss: tokenCrossEntropy(logits, tokens) };
}

function trainingGraph(config: GptConfig, settings: GptTraining, frozen: FrozenModels): Built {
  const { graph, scope, tokens, logits, loss } = forward(config, settings.batchSize);
  let total = loss;
  if (settings.embeddingLoss > 0) {
    const distance = embeddingLoss(scope, config, frozen, tokens, logits);
    graph.output('embedding', distance);
    total = add(loss, mul(distance, settings.embeddingLoss));
  }
  graph.output('loss', loss);
  const names = graph.parameters.map((parameter) => parameter.name).filter((name) => !isFrozen(name));
  outputGradients(graph, total, names);
  return { graph, specs: scope.specs };
}

/**
 * mse between the CLIP embeddings of the picture and of the decoded most likely tokens, which pass their gradient
 * straight through. The picture is the VQGAN's own reconstruction of the true tokens, so that the cache is enough.
 */
function embeddingLoss(scope: Scope, config: GptConfig, frozen: FrozenModels, tokens: Value, logits: Value): Value {
  const { vqgan, clip } = frozen;
  const [batch, length, size] = logits.shape as [number, number, number];
  const side = gridSide(vqgan.config);
  const autoencoder = scope.child('vqgan');
  const embed = (codes: Value): Value => {
    const pixels = resizeBilinear(decodeLatents(autoencoder, vqgan.config, codes), clip.config.vision.imageSize);
    return normalizeRows(encodeImage(scope.child('clip'), clip.config, fromSignedPixels(pixels)));
  };
  const rows = straightThroughCodes(reshape(logits, [batch * length, size]), codebook(autoencoder, vqgan.config));
  const grid = transpose(reshape(rows, [batch, side, side, vqgan.config.codeSize]), [0, 3, 1, 2]);
  return mse(embed(lookUp(autoencoder, vqgan.config, tokens, side)), embed(grid));
}

function evaluationGraph(config: GptConfig, batch: number, { vqgan }: FrozenModels): GraphBuilder {
  const { graph, scope, tokens, logits, loss } = forward(config, batch);
  graph.output('cross_entropy', loss);
  const autoencoder = scope.child('vqgan');
  const side = gridSide(vqgan.config);
  const picture = (ids: Value): Value =>
    decodeLatents(autoencoder, vqgan.config, lookUp(autoencoder, vqgan.config, ids, side));
  graph.output('true_pictures', picture(tokens));
  graph.output('predicted_pictures', picture(argMax(logits, -1)));
  return graph;
}
