import type { ImageBatch, ImageDataset } from '@clip-gen/datasets';
import { contactSheet, meanSquaredError, tensorToImages, type RgbImage } from '@clip-gen/image';
import { emptyTensor, tensor, type Tensor } from '@clip-gen/tensor';
import { VQGAN_PRESETS, vqganConfigSchema, type VqganConfig } from '@clip-gen/vqgan';
import { z } from 'zod';
import type { VqganTraining } from '../config.ts';
import { batchShare, wholeBatches, type BatchShare } from '../distributed/batch-share.ts';
import type { GradientReduction } from '../distributed/gradient-reduction.ts';
import { World } from '../distributed/world.ts';
import { requireWeights, type FrozenModel } from '../frozen-weights.ts';
import { parseNotes, savedTensor, stepCounts } from '../saved-state.ts';
import type { Metrics, ModelFiles, RoundState, Stage, StageState, StepContext, Validation } from '../stage.ts';
import { MeanScalars } from '../mean-scalars.ts';
import { StepGraph, trainingCuts } from '../step-graph.ts';
import { Trainable } from '../trainable.ts';
import { CodebookUsage } from './codebook-usage.ts';
import { DiscriminatorStatistics } from './discriminator-statistics.ts';
import { sumOf, wholeAdaptiveWeight, wholeLatents } from './whole-batch.ts';
import { padBatch } from './pad-batch.ts';
import { PERCEPTUAL_PREFIX, type PerceptualNetwork } from './perceptual.ts';
import {
  discriminatorGraph,
  generatorGraph,
  isDecoder,
  isGenerator,
  reconstructionGraph,
  type BuiltGraph,
  type GeneratorGraph,
} from './vqgan-graphs.ts';

type Tensors = Record<string, Tensor>;

/** Scalar outputs of the generator's graph that are reported. */
const LOSSES = ['loss', 'mse', 'quantizer', 'perceptual', 'adversarial', 'adaptive'];

/** Pictures of the validation contact sheet: originals above their reconstructions. */
const SHOWN = 16;

const notesSchema = z.strictObject({
  generator: stepCounts,
  discriminator: stepCounts,
  /** Batches behind the running statistics, by BatchNorm. */
  batches: stepCounts,
});

/** What the runs of the discriminator's graph gave. */
interface Verdict {
  readonly results: readonly Record<string, Tensor>[];
  readonly reduction: GradientReduction;
}

/** VQGAN training (arXiv 2203.00386, section 3.1): images alone. */
export class VqganStage implements Stage<ImageBatch> {
  readonly name = 'vqgan';
  readonly config: VqganConfig;
  readonly batchSize: number;
  readonly stepsPerEpoch: number;
  /** With whom each step is exchanged: nobody where steps are local. */
  readonly world: World;
  readonly #everyone: World;
  /** Where steps are local: the latents of the last one. */
  #latents: { readonly rows: readonly Tensor<'float32'>[]; readonly tokens: readonly Tensor[] } | undefined;
  readonly #share: BatchShare;
  /** What the first optimiser moves: encoder, codebook and decoder, or the decoder alone. */
  readonly #generator: Trainable;
  /** Encoder and codebook where they stay as they are. */
  readonly #frozen: Readonly<Record<string, Tensor<'float32'>>>;
  readonly #discriminator: Trainable | undefined;
  readonly #usage: CodebookUsage;
  readonly #statistics: DiscriminatorStatistics;
  readonly #graphs = new Map<string, Promise<StepGraph>>();
  /** All parameters, frozen ones included. */
  readonly #values: Tensors;
  /** The generator's last reconstructions, one tensor a run, which the discriminator sees next. */
  readonly #pictures: readonly Tensor<'float32'>[];

  /**
   * @param validation held-back pictures; none: no validation, no best checkpoint
   * @param tokensOf a trained VQGAN whose encoder and codebook are kept: the decoder alone is trained, from that VQGAN's
   * weights where they have its shape
   * @throws invalid_argument for fewer pictures than a batch; failed_precondition for perceptual weights, or an encoder
   * and codebook, that do not fit
   */
  constructor(
    readonly settings: VqganTraining,
    readonly perceptual: PerceptualNetwork,
    readonly training: ImageDataset,
    readonly validation?: ImageDataset,
    readonly tokensOf?: FrozenModel<VqganConfig>,
    everyone = World.alone(),
  ) {
    const { adversarial, reviveSteps, seed } = settings;
    this.config = VqganStage.config(settings);
    this.#everyone = everyone;
    this.world = settings.localSteps ? World.alone() : everyone;
    this.#share = batchShare(settings, everyone);
    this.batchSize = this.#share.whole;
    this.stepsPerEpoch = wholeBatches(training.length, this.#share);
    const { specs } = this.#generatorGraph('plain');
    requireWeights(
      specs.filter(({ name }) => name.startsWith(PERCEPTUAL_PREFIX)),
      perceptual.weights,
      'perceptual network',
    );
    this.#generator = new Trainable(
      specs.filter(({ name }) => this.#isTrained(name)),
      settings,
    );
    const frozen = specs.filter(({ name }) => isGenerator(name) && !this.#isTrained(name));
    if (tokensOf) {
      requireWeights(frozen, tokensOf.weights, `--tokens-of ${tokensOf.folder}`);
      this.#generator.start(tokensOf.weights);
    }
    this.#frozen = Object.fromEntries(frozen.map(({ name }) => [name, tokensOf!.weights[name]!]));
    const discriminator = adversarial.weight > 0 ? discriminatorGraph(this.config, this.#share.run) : undefined;
    this.#discriminator = discriminator && new Trainable(discriminator.specs, { ...settings, averageDecay: 0 });
    this.#statistics = new DiscriminatorStatistics(discriminator?.statistics ?? []);
    this.#usage = new CodebookUsage(this.config.codebookSize, tokensOf ? 0 : reviveSteps, seed);
    this.#values = {
      ...perceptual.weights,
      ...this.#frozen,
      ...this.#discriminator?.values,
      ...this.#generator.values,
    };
    const shape = [this.#share.run, 3, this.config.imageSize, this.config.imageSize];
    this.#pictures = Array.from({ length: this.#share.runs }, () => emptyTensor('float32', shape));
  }

  static config(settings: VqganTraining): VqganConfig {
    const { model } = settings;
    return typeof model === 'string' ? vqganConfigSchema.parse(VQGAN_PRESETS[model]) : model;
  }

  batches(epoch: number, startStep: number): AsyncIterable<ImageBatch> {
    const { seed, augmentation } = this.settings;
    const part = { index: this.#everyone.rank, count: this.#everyone.size };
    const options = { batchSize: this.batchSize, part, seed, epoch, startStep, augmentation };
    return this.training.batches({ ...options, training: true });
  }

  async step(batch: ImageBatch, { epoch, globalStep, learningRate, onChange }: StepContext): Promise<Metrics> {
    const joined = this.#discriminator !== undefined && epoch >= this.settings.adversarial.startEpoch;
    const losses = new MeanScalars(LOSSES);
    const reduction = await this.#generator.reduction(this.world);
    const runs = await this.#runGenerator(this.#runsOf(batch), joined, reduction);
    for (const outputs of runs) losses.add(outputs);
    // The discriminator needs the pictures alone: it computes while the generator's gradients are reduced.
    const [means, { skipped }, verdict] = await Promise.all([
      losses.means(this.world),
      this.#generator.step(learningRate, reduction, onChange),
      joined ? this.#runDiscriminator(batch) : undefined,
    ]);
    const tokens = runs.map((outputs) => outputs['tokens']!);
    if (!skipped) await this.#usage.count(tokens, this.world);
    const { loss, mse, quantizer, ...others } = means;
    const metrics: Record<string, number> = {
      loss: loss!,
      psnr: -10 * Math.log10(mse! / 4),
      quantizer: quantizer!,
      codes: this.#usage.used,
      ...others,
    };
    if (skipped) {
      // What a broken step made must reach neither the codes nor the discriminator.
      await verdict?.reduction.norm();
      return { ...metrics, skipped: 1 };
    }
    if (verdict) {
      for (const outputs of runs) await this.#statistics.update(outputs, 'fake', this.world);
      Object.assign(metrics, await this.#stepDiscriminator(verdict, learningRate));
    }
    const rows = runs.map((outputs) => outputs['rows'] as Tensor<'float32'>);
    if (this.settings.localSteps) this.#latents = { rows, tokens };
    else if (this.#usage.isDue(globalStep)) {
      const whole = await wholeLatents(rows, tokens, this.world);
      this.#usage.revive(this.#generator.arena, whole.rows, whole.tokens, globalStep);
    }
    return metrics;
  }

  async validate(): Promise<Validation | undefined> {
    let squares = 0;
    let decibels = 0;
    let pictures = 0;
    for await (const { original, decoded } of this.#reconstructions()) {
      original.forEach((image, i) => {
        const error = meanSquaredError(image, decoded[i]!);
        squares += error;
        decibels += 10 * Math.log10(255 ** 2 / Math.max(error, 1e-10));
        pictures++;
      });
    }
    const [allSquares, allDecibels, all] = await this.#everyone.sums([squares, decibels, pictures]);
    if (all === 0) return undefined;
    const psnr = allDecibels! / all!;
    return { score: -psnr, metrics: { psnr, mse: allSquares! / all! } };
  }

  async illustrate(): Promise<ReadonlyMap<string, RgbImage>> {
    for await (const { original, decoded } of this.#reconstructions()) {
      const count = Math.min(SHOWN, original.length);
      const sheet = await contactSheet([...original.slice(0, count), ...decoded.slice(0, count)], { columns: count });
      return new Map([['reconstruction', sheet]]);
    }
    return new Map();
  }

  state(): StageState {
    const tensors = [
      ...this.#generator.tensors('generator'),
      ...(this.#discriminator?.tensors('discriminator') ?? []),
      ...this.#statistics.tensors(),
      ['usage', this.#usage.tensor] as const,
    ];
    const { batches } = this.#statistics;
    return {
      tensors,
      notes: { generator: this.#generator.steps, discriminator: this.#discriminator?.steps ?? {}, batches },
    };
  }

  restore(tensors: ReadonlyMap<string, Tensor>, notes: Readonly<Record<string, unknown>>): void {
    const { generator, discriminator, batches } = parseNotes(notesSchema, notes);
    this.#generator.restore('generator', tensors, generator);
    this.#discriminator?.restore('discriminator', tensors, discriminator);
    this.#statistics.restore(tensors, batches);
    this.#usage.counts.set(savedTensor(tensors, 'usage', this.#usage.tensor).data);
  }

  /**
   * Codes are counted over all processes at the end of a round, those that are to move move there, and the
   * discriminator's statistics become those of all.
   */
  get rounds(): RoundState {
    const trainables = [this.#generator, ...(this.#discriminator ? [this.#discriminator] : [])];
    return {
      trainables,
      shared: [this.#usage.tensor, ...this.#statistics.shared],
      settle: async (world, end) => {
        const { rows, tokens } = this.#latents ?? { rows: [], tokens: [] };
        const latents = end.isRoot ? await wholeLatents(rows, tokens, World.alone()) : undefined;
        await this.#usage.settle(this.#generator.arena, latents, world, end);
        await this.#statistics.settle(world);
      },
      adopted: () => {
        this.#usage.adopted();
        this.#statistics.adopted();
      },
    };
  }

  model(): ModelFiles {
    const weights = [
      ...Object.entries(this.#frozen),
      ...this.#generator.weights,
      ...(this.#discriminator?.weights ?? []),
      ...this.#statistics.weights(),
    ];
    return { config: this.config, weights };
  }

  async close(): Promise<void> {
    for (const graph of this.#graphs.values()) await (await graph).close();
  }

  /** The pictures of each run of the graph, (run, 3, S, S). */
  #runsOf({ images }: Pick<ImageBatch, 'images'>): Tensor<'float32'>[] {
    const { runs, run } = this.#share;
    const values = images.data.length / (runs * run);
    return Array.from({ length: runs }, (_, i) =>
      tensor(
        'float32',
        [run, ...images.shape.slice(1)],
        images.data.subarray(i * run * values, (i + 1) * run * values),
      ),
    );
  }

  /** Fills the generator's gradients and `#pictures`. Returns what each run gave. */
  async #runGenerator(
    pictures: readonly Tensor<'float32'>[],
    joined: boolean,
    reduction: GradientReduction,
  ): Promise<Record<string, Tensor>[]> {
    const results: Record<string, Tensor>[] = [];
    const alone = this.world.size * this.#share.runs === 1;
    const kind = joined ? (alone ? 'adversarial' : 'balance') : 'plain';
    const trained = kind === 'balance' ? undefined : this.#generator;
    const graph = await this.#graph(kind, () => this.#generatorGraph(kind), trained);
    for (const [run, images] of pictures.entries()) {
      const into = { ...this.#generator.into(run), picture: this.#pictures[run]! };
      const onGroup = (bucket: number): void => reduction.written(run, bucket);
      results.push(await graph.run(this.#values, { images }, into, onGroup));
    }
    return kind === 'balance' ? this.#balance(pictures, results, reduction) : results;
  }

  /** The second half of an adversarial step whose adaptive weight is that of the whole batch. */
  async #balance(
    pictures: readonly Tensor<'float32'>[],
    results: readonly Record<string, Tensor>[],
    reduction: GradientReduction,
  ): Promise<Record<string, Tensor>[]> {
    const adaptive = await wholeAdaptiveWeight(results, this.world);
    const graph = await this.#graph('backward', () => this.#generatorGraph('backward'), this.#generator);
    const factor = adaptive * this.settings.adversarial.weight;
    for (const [run, images] of pictures.entries()) {
      const cotangent = sumOf(results[run]!['from_reconstruction']!, factor, results[run]!['from_adversarial']!);
      const onGroup = (bucket: number): void => reduction.written(run, bucket);
      await graph.run(this.#values, { images, cotangent }, this.#generator.into(run), onGroup);
    }
    return results.map((outputs) => ({ ...outputs, adaptive: tensor('float32', [], Float32Array.of(adaptive)) }));
  }

  /** Fills the discriminator's gradients. Returns what each run gave. */
  async #runDiscriminator(batch: ImageBatch): Promise<Verdict> {
    const discriminator = this.#discriminator!;
    const build = (): BuiltGraph => discriminatorGraph(this.config, this.#share.run);
    const graph = await this.#graph('discriminator', build, discriminator);
    const reduction = await discriminator.reduction(this.world);
    const results: Record<string, Tensor>[] = [];
    for (const [run, real] of this.#runsOf(batch).entries()) {
      const feeds = { real, fake: this.#pictures[run]! };
      const onGroup = (bucket: number): void => reduction.written(run, bucket);
      results.push(await graph.run(discriminator.values, feeds, discriminator.into(run), onGroup));
    }
    return { results, reduction };
  }

  async #stepDiscriminator({ results, reduction }: Verdict, learningRate: number): Promise<Metrics> {
    const discriminator = this.#discriminator!;
    const scalars = new MeanScalars(['loss', 'real_logit', 'fake_logit']);
    for (const outputs of results) scalars.add(outputs);
    const [{ loss, real_logit: real, fake_logit: fake }, { skipped }] = await Promise.all([
      scalars.means(this.world),
      discriminator.step(this.settings.adversarial.learningRate ?? learningRate, reduction),
    ]);
    for (const outputs of skipped ? [] : results) {
      for (const which of ['real', 'fake']) await this.#statistics.update(outputs, which, this.world);
    }
    return { discriminator: loss!, real: real!, fake: fake!, ...(skipped ? { skipped: 1 } : {}) };
  }

  /** Held-back pictures and what becomes of them: this process's part. */
  async *#reconstructions(): AsyncGenerator<{ original: RgbImage[]; decoded: RgbImage[] }> {
    if (!this.validation) return;
    const { whole, own, run } = this.#share;
    const graph = await this.#graph('reconstruction', () => reconstructionGraph(this.config, run));
    const values = { ...this.#frozen, ...Object.fromEntries(this.#generator.weights) };
    let left = this.settings.validationBatches;
    const part = { index: this.#everyone.rank, count: this.#everyone.size };
    for await (const { images } of this.validation.batches({ batchSize: whole, part, training: false })) {
      if (left-- === 0) break;
      const original = tensorToImages(images);
      const decoded: RgbImage[] = [];
      const padded = padBatch(images, own);
      for (const pictures of this.#runsOf({ images: padded })) {
        if (decoded.length >= original.length) break;
        const outputs = await graph.run(values, { images: pictures });
        decoded.push(...tensorToImages(outputs['picture'] as Tensor<'float32'>));
      }
      yield { original, decoded: decoded.slice(0, original.length) };
    }
  }

  #generatorGraph(kind: GeneratorGraph): BuiltGraph {
    const { l1, mse, quantizer, adversarial } = this.settings;
    const losses = { l1, mse, quantizer, perceptual: this.perceptual.network, adversarial: adversarial.weight };
    return generatorGraph(kind, this.config, this.#share.run, losses, (name) => this.#isTrained(name));
  }

  #isTrained(name: string): boolean {
    return this.tokensOf ? isDecoder(name) : isGenerator(name);
  }

  /** Compiled when it is first needed. @param trained whose gradients it has, to be told when they are there */
  #graph(key: string, build: () => BuiltGraph, trained?: Trainable): Promise<StepGraph> {
    const cuts = trained && trainingCuts(trained.groups, this.world);
    const known = this.#graphs.get(key) ?? StepGraph.compile(build().graph, this.settings.threads, cuts);
    this.#graphs.set(key, known);
    return known;
  }
}
