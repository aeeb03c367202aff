import { ClipGenError } from '@clip-gen/errors';
import { GPT_PRESETS, gptConfigSchema, type GptConfig } from '@clip-gen/gpt';
import { contactSheet, tensorToImages, type RgbImage } from '@clip-gen/image';
import { SUPPORT_FILE, supportTable } from '@clip-gen/generation';
import { RandomStream } from '@clip-gen/rng';
import { tensor, type Tensor } from '@clip-gen/tensor';
import { gridSide } from '@clip-gen/vqgan';
import type { GptTraining } from '../config.ts';
import { batchShare, wholeBatches, type BatchShare } from '../distributed/batch-share.ts';
import { World } from '../distributed/world.ts';
import { requireWeights, type FrozenModel } from '../frozen-weights.ts';
import { oneOptimizerNotes, parseNotes } from '../saved-state.ts';
import type {
  Metrics,
  ModelFiles,
  RoundState,
  Stage,
  StageState,
  StepContext,
  TensorFile,
  Validation,
} from '../stage.ts';
import { MeanScalars } from '../mean-scalars.ts';
import { scalarOf, StepGraph, trainingCuts } from '../step-graph.ts';
import { STREAMS } from '../streams.ts';
import { Trainable } from '../trainable.ts';
import { disturbCondition } from './disturb-condition.ts';
import { disturbedTokens } from './disturb-tokens.ts';
import type { PictureTokens } from './encode-pictures.ts';
import { frozenValues, isFrozen, type FrozenModels, type GraphOverFrozen } from './frozen-models.ts';
import { evaluationGraph, trainingGraph } from './gpt-graphs.ts';

/** Rows of the data set: this process's share. */
export interface GptBatch {
  readonly rows: readonly number[];
}

/** Pictures of the validation contact sheet. */
const SHOWN = 16;

/** Training of the conditional transformer (arXiv 2203.00386, section 3.3): images alone. */
export class GptStage implements Stage<GptBatch> {
  readonly name = 'gpt';
  readonly config: GptConfig;
  readonly batchSize: number;
  readonly stepsPerEpoch: number;
  /** With whom each step is exchanged: nobody where steps are local. */
  readonly world: World;
  readonly #everyone: World;
  readonly #share: BatchShare;
  readonly #trainable: Trainable;
  readonly #values: Readonly<Record<string, Tensor>>;
  #training: StepGraph | undefined;
  #evaluation: StepGraph | undefined;

  /**
   * @param training tokens and embeddings of the pictures to learn from
   * @param validation those of held-back pictures; none: no validation, no best checkpoint
   * @param start a transformer to start from; none: random weights
   * @throws invalid_argument for fewer pictures than a batch
   * @throws failed_precondition when the frozen models or `start` lack a weight or an explicit configuration does not fit them
   */
  constructor(
    readonly settings: GptTraining,
    readonly frozen: FrozenModels,
    readonly training: PictureTokens,
    readonly validation?: PictureTokens,
    everyone = World.alone(),
    start?: FrozenModel<GptConfig>,
  ) {
    this.config = GptStage.config(settings, frozen);
    this.#everyone = everyone;
    this.world = settings.localSteps ? World.alone() : everyone;
    this.#share = batchShare(settings, everyone);
    this.batchSize = this.#share.whole;
    this.stepsPerEpoch = wholeBatches(training.tokens.shape[0]!, this.#share);
    const { specs } = this.#trainingGraph();
    this.#trainable = new Trainable(
      specs.filter(({ name }) => !isFrozen(name)),
      settings,
    );
    if (start) {
      const own = specs.filter(({ name }) => !isFrozen(name));
      requireWeights(own, start.weights, `--start ${start.folder}`);
      this.#trainable.start(start.weights);
    }
    const needed = [...specs, ...this.#evaluationGraph().specs];
    this.#values = { ...frozenValues(frozen, needed), ...this.#trainable.values };
  }

  /**
   * The transformer's sizes: a preset's, where token count, vocabulary and condition follow the frozen models.
   *
   * @throws failed_precondition when an explicit configuration does not fit the VQGAN and CLIP, or when these ask for
   * more than a transformer can have
   */
  static config(settings: GptTraining, { vqgan, clip }: FrozenModels): GptConfig {
    const follows = {
      tokens: gridSide(vqgan.config) ** 2,
      vocabularySize: vqgan.config.codebookSize,
      conditionSize: clip.config.embeddingSize,
    };
    const { model } = settings;
    if (typeof model === 'string') {
      const derived = gptConfigSchema.safeParse({ ...GPT_PRESETS[model], ...follows }, { reportInput: true });
      if (derived.success) return derived.data;
      const { issues } = derived.error;
      const [first] = issues;
      // Of several bounds of one size the last is the tightest.
      const { path, message, input } = issues.findLast((issue) => issue.path.join() === first!.path.join())!;
      const source = `the VQGAN ${vqgan.folder} and the CLIP ${clip.folder}`;
      throw new ClipGenError(
        'failed_precondition',
        `model.${path.join('.')}, which follows ${source}: ${message}; got ${String(input)}; take smaller ones`,
        { cause: derived.error },
      );
    }
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
    const order = new RandomStream(this.settings.seed, STREAMS.rowOrder, epoch).shuffle(
      Uint32Array.from({ length: this.training.tokens.shape[0]! }, (_, i) => i),
    );
    const { whole, first, own } = this.#share;
    for (let step = startStep; step < this.stepsPerEpoch; step++) {
      const from = step * whole + first;
      yield { rows: [...order.subarray(from, from + own)] };
      await Promise.resolve();
    }
  }

  async step({ rows }: GptBatch, { globalStep, learningRate, onChange }: StepContext): Promise<Metrics> {
    this.#training ??= await StepGraph.compile(
      this.#trainingGraph().graph,
      this.settings.threads,
      trainingCuts(this.#trainable.groups, this.world),
    );
    const { first, runs, run: size } = this.#share;
    const noise = { ...this.settings, codes: this.config.vocabularySize };
    const losses = new MeanScalars(['loss', 'embedding']);
    const reduction = await this.#trainable.reduction(this.world);
    for (let run = 0; run < runs; run++) {
      const place = first + run * size;
      const { tokens, condition } = this.#feeds(this.training, rows.slice(run * size, (run + 1) * size));
      const previous = disturbedTokens(tokens, this.training.tokens, noise, globalStep, place);
      disturbCondition(condition, this.settings, globalStep, place);
      const feeds = { tokens, previous, condition };
      const onGroup = (bucket: number): void => reduction.written(run, bucket);
      losses.add(await this.#training.run(this.#values, feeds, this.#trainable.into(run), onGroup));
    }
    const [{ loss, ...others }, { skipped, norm }] = await Promise.all([
      losses.means(this.world),
      this.#trainable.step(learningRate, reduction, onChange),
    ]);
    return { loss: loss!, norm, ...others, ...(skipped ? { skipped: 1 } : {}) };
  }

  async validate(): Promise<Validation | undefined> {
    const batches = this.#validationRows();
    if (batches.length === 0) return undefined;
    let loss = 0;
    for (const rows of batches) loss += scalarOf(await this.#evaluate(rows), 'cross_entropy');
    const { score } = await this.#everyone.means({ score: loss / batches.length });
    return { score, metrics: { cross_entropy: score } };
  }

  /** Held-back pictures as the VQGAN keeps them, above the most likely token at each position given the true ones. */
  async illustrate(): Promise<ReadonlyMap<string, RgbImage>> {
    const [rows] = this.#validationRows();
    if (!rows) return new Map();
    const outputs = await this.#evaluate(rows);
    const pictures = (name: string): RgbImage[] => tensorToImages(outputs[name] as Tensor<'float32'>).slice(0, SHOWN);
    const sheet = await contactSheet([...pictures('true_pictures'), ...pictures('predicted_pictures')], {
      columns: Math.min(SHOWN, this.#share.run),
    });
    return new Map([['teacher_forced', sheet]]);
  }

  state(): StageState {
    return { tensors: this.#trainable.tensors('gpt'), notes: { steps: this.#trainable.steps } };
  }

  get rounds(): RoundState {
    return { trainables: [this.#trainable], shared: [] };
  }

  restore(tensors: ReadonlyMap<string, Tensor>, notes: Readonly<Record<string, unknown>>): void {
    this.#trainable.restore('gpt', tensors, parseNotes(oneOptimizerNotes, notes).steps);
  }

  model(): ModelFiles {
    const { rows } = this.settings.support;
    const support = new Map(rows > 0 ? [[SUPPORT_FILE, this.#support()]] : []);
    return { config: this.config, weights: this.#trainable.weights, tables: support };
  }

  /** Of all training pictures, or of so many at even distances. */
  #support(): TensorFile {
    const { data, shape } = this.training.embeddings;
    const [count, width] = shape as [number, number];
    const { rows, ...options } = this.settings.support;
    const kept = Math.min(rows, count);
    const embeddings = new Float32Array(kept * width);
    for (let i = 0; i < kept; i++) {
      const from = Math.floor((i * count) / kept) * width;
      embeddings.set(data.subarray(from, from + width), i * width);
    }
    return supportTable(embeddings, width, options);
  }

  async close(): Promise<void> {
    await this.#training?.close();
    await this.#evaluation?.close();
  }

  async #evaluate(rows: readonly number[]): Promise<Record<string, Tensor>> {
    this.#evaluation ??= await StepGraph.compile(this.#evaluationGraph().graph, this.settings.threads);
    const values = { ...this.#values, ...Object.fromEntries(this.#trainable.weights) };
    return this.#evaluation.run(values, this.#feeds(this.validation!, rows));
  }

  #trainingGraph(): GraphOverFrozen {
    return trainingGraph(this.config, this.#share.run, this.settings.embeddingLoss, this.frozen);
  }

  #evaluationGraph(): GraphOverFrozen {
    return evaluationGraph(this.config, this.#share.run, this.frozen);
  }

  /**
   * Whole validation batches, this process's part of each in runs; a set smaller than a batch is repeated to fill one.
   */
  #validationRows(): number[][] {
    const count = this.validation?.tokens.shape[0] ?? 0;
    if (count === 0) return [];
    const { whole, first, runs, run: size } = this.#share;
    const batches = Math.min(this.settings.validationBatches, Math.max(1, Math.floor(count / whole)));
    return Array.from({ length: batches * runs }, (_, b) => {
      const from = Math.floor(b / runs) * whole + first + (b % runs) * size;
      return Array.from({ length: size }, (_, i) => (from + i) % count);
    });
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
}
