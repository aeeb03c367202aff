import { CLIP_PRESETS, clipConfigSchema, type ClipConfig } from '@clip-gen/clip';
import type { ImageBatch, ImageDataset } from '@clip-gen/datasets';
import type { RgbImage } from '@clip-gen/image';
import { emptyTensor, tensor, type Tensor } from '@clip-gen/tensor';
import { createClipTokenizer, cutVocabulary, tokenizerToJson, type ClipTokenizer } from '@clip-gen/tokenizer';
import type { ClipTraining } from '../config.ts';
import { batchShare, wholeBatches, type BatchShare } from '../distributed/batch-share.ts';
import type { GradientReduction } from '../distributed/gradient-reduction.ts';
import { World } from '../distributed/world.ts';
import { oneOptimizerNotes, parseNotes } from '../saved-state.ts';
import type { Metrics, ModelFiles, Stage, StageState, StepContext, Validation } from '../stage.ts';
import { scalarOf, StepGraph, trainingCuts } from '../step-graph.ts';
import { gradientName, Trainable } from '../trainable.ts';
import { contrastiveGraph, divisibleGraph, encodingGraph, ROWS, rowsLossGraph } from './clip-graphs.ts';
import { DividedContrast, joinedRows, type Comparison } from './divided-contrast.ts';
import { padBatch } from './pad-batch.ts';

const LOGIT_SCALE = 'logit_scale';
/** openai/CLIP never scales similarities by more than 100. */
const MAX_LOGIT_SCALE = Math.log(100);

/** CLIP training (arXiv 2103.00020) on pairs of pictures and captions: the only stage that reads text. */
export class ClipStage implements Stage<ImageBatch> {
  readonly name = 'clip';
  readonly batchSize: number;
  readonly stepsPerEpoch: number;
  readonly #share: BatchShare;
  readonly #trainable: Trainable;
  readonly #contrast: DividedContrast;
  #training: StepGraph | undefined;
  #encoding: StepGraph | undefined;
  #evaluation: StepGraph | undefined;

  private constructor(
    readonly settings: ClipTraining,
    readonly config: ClipConfig,
    readonly tokenizer: ClipTokenizer,
    readonly training: ImageDataset,
    readonly validation: ImageDataset | undefined,
    readonly world: World,
  ) {
    this.#share = batchShare(settings, world);
    this.batchSize = this.#share.whole;
    this.stepsPerEpoch = wholeBatches(training.length, this.#share);
    this.#trainable = new Trainable(contrastiveGraph(config, this.#share.run).specs, settings);
    this.#contrast = new DividedContrast(this.#share, config.embeddingSize, settings.threads, world);
  }

  /**
   * Cuts the vocabulary to the captions of the training pictures, unless the settings ask for all of OpenAI's.
   *
   * @throws invalid_argument for fewer pictures than a batch
   */
  static create(
    settings: ClipTraining,
    training: ImageDataset,
    validation?: ImageDataset,
    world = World.alone(),
  ): ClipStage {
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

  static config(settings: ClipTraining): ClipConfig {
    const { model } = settings;
    return typeof model === 'string' ? clipConfigSchema.parse(CLIP_PRESETS[model]) : model;
  }

  batches(epoch: number, startStep: number): AsyncIterable<ImageBatch> {
    const { seed, augmentation } = this.settings;
    const options = { batchSize: this.batchSize, part: this.#part, seed, epoch, startStep, augmentation };
    return this.training.batches({ ...options, training: true });
  }

  async step(batch: ImageBatch, { learningRate, onChange }: StepContext): Promise<Metrics> {
    const reduction = await this.#trainable.reduction(this.world);
    const feeds = this.#feeds(batch);
    const isWhole = this.world.size * this.#share.runs === 1;
    const own = isWhole ? await this.#stepWhole(feeds[0]!, reduction) : await this.#stepDivided(feeds, reduction);
    const [{ loss }, { skipped }] = await Promise.all([
      this.world.means({ loss: own }),
      this.#trainable.step(learningRate, reduction, onChange),
    ]);
    const scale = this.#trainable.arena.values.get(LOGIT_SCALE)!.data;
    scale[0] = Math.min(scale[0]!, MAX_LOGIT_SCALE);
    return { loss, scale: Math.exp(scale[0]), ...(skipped ? { skipped: 1 } : {}) };
  }

  /** Whole batches only: the loss depends on how many captions there are to choose from. None of fewer than two. */
  async validate(): Promise<Validation | undefined> {
    const { whole, own } = this.#share;
    const count = this.validation?.length ?? 0;
    const pictures = Math.min(whole, count);
    if (!this.validation || pictures < 2) return undefined;
    const { threads, validationBatches } = this.settings;
    const batches = Math.min(validationBatches, Math.max(1, Math.floor(count / whole)));
    if (batches === 0) return undefined;
    const values = Object.fromEntries(this.#trainable.weights);
    const width = this.config.embeddingSize;
    this.#evaluation ??= await StepGraph.compile(rowsLossGraph(pictures, width), threads);
    const parts = this.validation.batches({ batchSize: whole, part: this.#part, training: false });
    let loss = 0;
    for (let i = 0; i < batches; i++) {
      // Of a batch that is not full, a process may have few pictures or none: zeros stand for them, after all others.
      const part = (await parts.next()).value;
      const images = padBatch(part?.images ?? emptyTensor('float32', [0, ...this.#imageShape]), own);
      const captions = [...(part?.captions ?? []), ...new Array<string>(own).fill('')].slice(0, own);
      const rows = await this.#encode(values, this.#feeds({ images, captions }));
      const feeds: Record<string, Tensor> = {};
      for (const name of ROWS) {
        const all = await this.world.gather(joinedRows(rows, name));
        feeds[name] = tensor('float32', [pictures, width], all.slice(0, pictures * width));
      }
      loss += scalarOf(await this.#evaluation.run(values, feeds), 'loss');
    }
    await parts.return(undefined);
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
    await this.#encoding?.close();
    await this.#evaluation?.close();
    await this.#contrast.close();
  }

  /** A batch that one run has: one graph. @returns the loss */
  async #stepWhole(feeds: Tensors, reduction: GradientReduction): Promise<number> {
    const { settings, config } = this;
    this.#training ??= await StepGraph.compile(
      contrastiveGraph(config, this.#share.run).graph,
      settings.threads,
      trainingCuts(this.#trainable.groups, this.world),
    );
    const onGroup = (bucket: number): void => reduction.written(0, bucket);
    const outputs = await this.#training.run(this.#trainable.values, feeds, this.#trainable.into(), onGroup);
    return scalarOf(outputs, 'loss');
  }

  /**
   * Pictures and captions of every run and process are compared with each other: the graph stops when it has encoded
   * its own, and goes on with the gradients that arrive there.
   *
   * @returns the loss of this process's rows
   */
  async #stepDivided(runs: readonly Tensors[], reduction: GradientReduction): Promise<number> {
    const { values, groups } = this.#trainable;
    const cuts = trainingCuts(groups, this.world);
    this.#training ??= await StepGraph.compile(divisibleGraph(this.config, this.#share.run), this.settings.threads, {
      ...cuts,
      groups: [{ outputs: ROWS, apart: true }, ...groups],
    });
    const scale = gradientName(LOGIT_SCALE);
    const into = { [scale]: this.#trainable.into()[scale]! };
    const compare = (rows: readonly Tensors[]): Promise<Comparison> => this.#contrast.compare(values, rows, into);
    // The rows of every run are needed before the gradients of any: with several, each is encoded twice.
    let compared = runs.length > 1 ? await compare(await this.#encode(values, runs)) : undefined;
    for (const [run, feeds] of runs.entries()) {
      await this.#training.run(values, feeds, this.#trainable.into(run), async (group, written) => {
        if (group > 0) return reduction.written(run, group - 1);
        compared ??= await compare([written]);
        return compared.cotangents[run]!;
      });
    }
    return compared!.loss;
  }

  /** Unit rows of both towers, of each run. */
  async #encode(values: Tensors, runs: readonly Tensors[]): Promise<Tensors[]> {
    this.#encoding ??= await StepGraph.compile(encodingGraph(this.config, this.#share.run), this.settings.threads);
    const rows: Tensors[] = [];
    for (const feeds of runs) rows.push(await this.#encoding.run(values, feeds));
    return rows;
  }

  /** What each run of the graph is fed of this process's part of a batch. Captions that do not fit are cut. */
  #feeds({ images, captions }: Pick<ImageBatch, 'images' | 'captions'>): Tensors[] {
    const { runs, run } = this.#share;
    const { contextLength } = this.config.text;
    const values = images.data.length / (runs * run);
    return Array.from({ length: runs }, (_, i) => {
      const ids = new BigInt64Array(run * contextLength);
      captions!.slice(i * run, (i + 1) * run).forEach((caption, row) => {
        const tokens = this.tokenizer.tokenize(caption, { contextLength, truncate: true });
        tokens.forEach((token, t) => (ids[row * contextLength + t] = BigInt(token)));
      });
      const own = images.data.subarray(i * run * values, (i + 1) * run * values);
      return {
        images: tensor('float32', [run, ...this.#imageShape], own),
        tokens: tensor('int64', [run, contextLength], ids),
      };
    });
  }

  get #imageShape(): readonly number[] {
    const { imageSize } = this.config.vision;
    return [3, imageSize, imageSize];
  }

  /** This process's part of each batch. */
  get #part(): { readonly index: number; readonly count: number } {
    return { index: this.world.rank, count: this.world.size };
  }
}

type Tensors = Readonly<Record<string, Tensor>>;
