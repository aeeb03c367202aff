import type { ImageDataset } from '@clip-gen/datasets';
import { ClipGenError } from '@clip-gen/errors';
import { contactSheet, meanSquaredError, tensorToImages, type RgbImage } from '@clip-gen/image';
import { RandomStream } from '@clip-gen/rng';
import { emptyTensor, tensor, type DType, type Tensor } from '@clip-gen/tensor';
import {
  gridSide,
  PREVIEW_CODES,
  PREVIEW_PRESETS,
  previewConfigFor,
  previewConfigSchema,
  previewMisfit,
  type PreviewConfig,
  type VqganConfig,
} from '@clip-gen/vqgan';
import type { PreviewTraining } from '../config.ts';
import { batchShare, wholeBatches, type BatchShare } from '../distributed/batch-share.ts';
import { World } from '../distributed/world.ts';
import { requireWeights, type FrozenModel } from '../frozen-weights.ts';
import { MeanScalars } from '../mean-scalars.ts';
import { oneOptimizerNotes, parseNotes } from '../saved-state.ts';
import type { Metrics, ModelFiles, Stage, StageState, StepContext, Validation } from '../stage.ts';
import { StepGraph, trainingCuts } from '../step-graph.ts';
import { STREAMS } from '../streams.ts';
import { Trainable } from '../trainable.ts';
import { canKeep, KeptExamples, type KeepingOptions } from './kept-examples.ts';
import { PERCEPTUAL_PREFIX, type PerceptualNetwork } from './perceptual.ts';
import { previewPictureGraph, previewTrainingGraph, type PreviewLosses } from './preview-graphs.ts';
import { PreviewTeacher, type PreviewExamples } from './preview-teacher.ts';

/** Pictures of the validation contact sheet: originals, the VQGAN's pictures of them, the preview's. */
const SHOWN = 16;
/** Of the VQGAN, (K, codeSize). */
const VQGAN_CODES = 'quantizer.embedding.weight';

/** What a preview training is made from, besides its settings. */
export interface PreviewSources {
  /** The frozen VQGAN. */
  readonly vqgan: FrozenModel<VqganConfig>;
  readonly perceptual: PerceptualNetwork;
  readonly training: ImageDataset;
  /** Held-back pictures; none: no validation, no best checkpoint. */
  readonly validation?: ImageDataset;
}

/** Distillation of a VQGAN's decoder into a small one: the frozen VQGAN's tokens in, its own pictures as the target. */
export class PreviewStage implements Stage<PreviewExamples> {
  readonly name = 'preview';
  readonly config: PreviewConfig;
  readonly batchSize: number;
  readonly stepsPerEpoch: number;
  readonly #share: BatchShare;
  readonly #trainable: Trainable;
  readonly #values: Readonly<Record<string, Tensor>>;
  #training: StepGraph | undefined;
  #evaluation: StepGraph | undefined;

  private constructor(
    readonly settings: PreviewTraining,
    readonly sources: PreviewSources,
    readonly teacher: PreviewTeacher,
    /** Where all examples fit into memory. */
    readonly kept: KeptExamples | undefined,
    readonly world: World,
  ) {
    const { vqgan, perceptual, training } = sources;
    this.config = PreviewStage.config(settings, vqgan);
    this.#share = batchShare(settings, world);
    this.batchSize = this.#share.whole;
    this.stepsPerEpoch = wholeBatches(kept?.length ?? training.length, this.#share);
    const { specs } = previewTrainingGraph(this.config, this.#share.run, this.#losses);
    const [frozen, own] = [true, false].map((side) =>
      specs.filter(({ name }) => name.startsWith(PERCEPTUAL_PREFIX) === side),
    );
    requireWeights(frozen!, perceptual.weights, 'perceptual network');
    this.#trainable = new Trainable(own!, settings);
    this.#trainable.start({ [PREVIEW_CODES]: unitCodes(vqgan.weights[VQGAN_CODES]!) });
    this.#values = { ...perceptual.weights, ...this.#trainable.values };
  }

  /**
   * Makes all examples where they are kept, unless they are in the cache.
   *
   * @throws invalid_argument for fewer pictures than a batch; failed_precondition for frozen weights that do not fit
   */
  static async create(
    settings: PreviewTraining,
    sources: PreviewSources,
    keeping: Omit<KeepingOptions, 'writes'>,
    world = World.alone(),
  ): Promise<PreviewStage> {
    const { vqgan, training } = sources;
    const tokens = gridSide(vqgan.config) ** 2;
    const teacher = await PreviewTeacher.open(vqgan, settings.batchSize, settings.threads);
    try {
      const keeps = canKeep(settings, training.length, training.imageSize, tokens);
      const options = { ...keeping, writes: world.isFirst };
      const kept = keeps ? await KeptExamples.open(training, teacher, options) : undefined;
      return new PreviewStage(settings, sources, teacher, kept, world);
    } catch (error) {
      await teacher.close();
      throw error;
    }
  }

  /**
   * The decoder's sizes: a preset's, where grid, codes and picture follow the VQGAN, or explicit ones.
   *
   * @throws failed_precondition when they do not fit the VQGAN
   */
  static config({ model }: Pick<PreviewTraining, 'model'>, vqgan: FrozenModel<VqganConfig>): PreviewConfig {
    if (typeof model !== 'string') {
      const misfit = previewMisfit(model, vqgan.config);
      if (misfit === undefined) return model;
      throw new ClipGenError('failed_precondition', `model does not fit the VQGAN ${vqgan.folder}: ${misfit}`);
    }
    const derived = previewConfigSchema.safeParse(previewConfigFor(vqgan.config, PREVIEW_PRESETS[model]));
    if (derived.success) return derived.data;
    const { imageSize } = vqgan.config;
    throw new ClipGenError(
      'failed_precondition',
      `model ${model} does not fit the VQGAN ${vqgan.folder}, whose picture of ${imageSize} pixels has a grid of ` +
        `${gridSide(vqgan.config)}; give its sizes, e.g. with one level: --set 'model={"model":"preview", …}'`,
      { cause: derived.error },
    );
  }

  async *batches(epoch: number, startStep: number): AsyncGenerator<PreviewExamples> {
    const { seed, augmentation } = this.settings;
    const { whole, first, own } = this.#share;
    if (this.kept) {
      const rows = Uint32Array.from({ length: this.kept.length }, (_, i) => i);
      const order = new RandomStream(seed, STREAMS.rowOrder, epoch).shuffle(rows);
      for (let step = startStep; step < this.stepsPerEpoch; step++) {
        const from = step * whole + first;
        yield this.kept.take(order.subarray(from, from + own));
        await Promise.resolve();
      }
      return;
    }
    const part = { index: this.world.rank, count: this.world.size };
    const options = { batchSize: whole, part, seed, epoch, startStep, augmentation, training: true };
    for await (const { images } of this.sources.training.batches(options)) yield this.teacher.examples(images);
  }

  async step(batch: PreviewExamples, { learningRate, onChange }: StepContext): Promise<Metrics> {
    this.#training ??= await StepGraph.compile(
      previewTrainingGraph(this.config, this.#share.run, this.#losses).graph,
      this.settings.threads,
      trainingCuts(this.#trainable.groups, this.world),
    );
    const { runs, run } = this.#share;
    const scalars = new MeanScalars(['loss', 'mse', 'perceptual']);
    const reduction = await this.#trainable.reduction(this.world);
    for (let i = 0; i < runs; i++) {
      const feeds = {
        tokens: rowsOf(batch.tokens, i * run, run),
        target: rowsOf(batch.target, i * run, run),
        original: rowsOf(batch.original, i * run, run),
      };
      const onGroup = (bucket: number): void => reduction.written(i, bucket);
      scalars.add(await this.#training.run(this.#values, feeds, this.#trainable.into(i), onGroup));
    }
    const [{ loss, mse, ...others }, { skipped, norm }] = await Promise.all([
      scalars.means(this.world),
      this.#trainable.step(learningRate, reduction, onChange),
    ]);
    return { loss: loss!, psnr: -10 * Math.log10(mse! / 4), norm, ...others, ...(skipped ? { skipped: 1 } : {}) };
  }

  /** `psnr` is that to the VQGAN's pictures, `original_psnr` to the pictures themselves; dB, on 8-bit pictures. */
  async validate(): Promise<Validation | undefined> {
    let [decibels, originals, pictures] = [0, 0, 0];
    for await (const { original, target, picture } of this.#heldBack()) {
      picture.forEach((image, i) => {
        decibels += psnr(image, target[i]!);
        originals += psnr(image, original[i]!);
        pictures++;
      });
    }
    const [all, allOriginals, count] = await this.world.sums([decibels, originals, pictures]);
    if (count === 0) return undefined;
    const mean = all! / count!;
    return { score: -mean, metrics: { psnr: mean, original_psnr: allOriginals! / count! } };
  }

  async illustrate(): Promise<ReadonlyMap<string, RgbImage>> {
    for await (const { original, target, picture } of this.#heldBack()) {
      const columns = Math.min(SHOWN, original.length);
      const rows = [original, target, picture].flatMap((images) => images.slice(0, columns));
      return new Map([['original_vqgan_preview', await contactSheet(rows, { columns })]]);
    }
    return new Map();
  }

  state(): StageState {
    return { tensors: this.#trainable.tensors('preview'), notes: { steps: this.#trainable.steps } };
  }

  restore(tensors: ReadonlyMap<string, Tensor>, notes: Readonly<Record<string, unknown>>): void {
    this.#trainable.restore('preview', tensors, parseNotes(oneOptimizerNotes, notes).steps);
  }

  model(): ModelFiles {
    return { config: this.config, weights: this.#trainable.weights };
  }

  async close(): Promise<void> {
    await this.teacher.close();
    await this.#training?.close();
    await this.#evaluation?.close();
  }

  get #losses(): PreviewLosses {
    const { l1, mse, original } = this.settings;
    return { l1, mse, original, perceptual: this.sources.perceptual.network };
  }

  /** Held-back pictures, the VQGAN's and the preview's of them: this process's part. */
  async *#heldBack(): AsyncGenerator<Readonly<Record<'original' | 'target' | 'picture', RgbImage[]>>> {
    const { validation } = this.sources;
    if (!validation) return;
    const { whole, run } = this.#share;
    this.#evaluation ??= await StepGraph.compile(previewPictureGraph(this.config, run).graph, this.settings.threads);
    const values = Object.fromEntries(this.#trainable.weights);
    const part = { index: this.world.rank, count: this.world.size };
    let left = this.settings.validationBatches;
    for await (const { images } of validation.batches({ batchSize: whole, part, training: false })) {
      if (left-- === 0) break;
      const { tokens, target, original } = await this.teacher.examples(images);
      const picture: RgbImage[] = [];
      const count = images.shape[0]!;
      for (let from = 0; from < count; from += run) {
        const rows = Math.min(run, count - from);
        const padded = emptyTensor('int64', [run, tokens.shape[1]!]); // code 0 where there is no picture
        padded.data.set(rowsOf(tokens, from, rows).data);
        const outputs = await this.#evaluation.run(values, { tokens: padded });
        picture.push(...tensorToImages(outputs['picture'] as Tensor<'float32'>).slice(0, rows));
      }
      yield { original: tensorToImages(original), target: tensorToImages(target), picture };
    }
  }
}

/** dB, at most 148 for equal pictures. */
function psnr(a: RgbImage, b: RgbImage): number {
  return 10 * Math.log10(255 ** 2 / Math.max(meanSquaredError(a, b), 1e-10));
}

/** A view of `count` rows. */
function rowsOf<D extends DType>({ dtype, shape, data }: Tensor<D>, from: number, count: number): Tensor<D> {
  const values = data.length / shape[0]!;
  return tensor(
    dtype,
    [count, ...shape.slice(1)],
    data.subarray(from * values, (from + count) * values) as typeof data,
  );
}

/** A copy of a codebook with a mean square of 1, whatever the VQGAN's scale. */
function unitCodes({ shape, data }: Tensor<'float32'>): Tensor<'float32'> {
  const scale = 1 / Math.sqrt(data.reduce((sum, value) => sum + value * value, 0) / data.length || 1);
  return tensor(
    'float32',
    shape,
    data.map((value) => value * scale),
  );
}
