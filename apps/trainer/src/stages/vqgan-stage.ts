import type { ImageBatch, ImageDataset } from '@clip-gen/datasets';
import { contactSheet, meanSquaredError, tensorToImages, type RgbImage } from '@clip-gen/image';
import { emptyTensor, type Tensor } from '@clip-gen/tensor';
import { VQGAN_PRESETS, vqganConfigSchema, type VqganConfig } from '@clip-gen/vqgan';
import { z } from 'zod';
import type { VqganTraining } from '../config.ts';
import { requireWeights, type FrozenModel } from '../frozen-weights.ts';
import { parseNotes, savedTensor, stepCounts } from '../saved-state.ts';
import {
  wholeBatches,
  type Metrics,
  type ModelFiles,
  type Stage,
  type StageState,
  type StepContext,
  type Validation,
} from '../stage.ts';
import { scalarOf, StepGraph } from '../step-graph.ts';
import { Trainable } from '../trainable.ts';
import { CodebookUsage } from './codebook-usage.ts';
import { DiscriminatorStatistics } from './discriminator-statistics.ts';
import { padBatch } from './pad-batch.ts';
import { PERCEPTUAL_PREFIX, type PerceptualNetwork } from './perceptual.ts';
import {
  discriminatorGraph,
  generatorGraph,
  isDecoder,
  isGenerator,
  reconstructionGraph,
  type BuiltGraph,
} from './vqgan-graphs.ts';

type Tensors = Record<string, Tensor>;

/** Pictures of the validation contact sheet: originals above their reconstructions. */
const SHOWN = 16;

const notesSchema = z.strictObject({
  generator: stepCounts,
  discriminator: stepCounts,
  /** Batches behind the running statistics, by BatchNorm. */
  batches: stepCounts,
});

/** VQGAN training (arXiv 2203.00386, section 3.1): images alone. */
export class VqganStage implements Stage<ImageBatch> {
  readonly name = 'vqgan';
  readonly config: VqganConfig;
  readonly batchSize: number;
  readonly stepsPerEpoch: number;
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
  /** The generator's last reconstruction, which the discriminator sees next. */
  readonly #picture: Tensor<'float32'>;

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
  ) {
    const { batchSize, adversarial, reviveSteps, seed } = settings;
    this.config = VqganStage.config(settings);
    this.batchSize = batchSize;
    this.stepsPerEpoch = wholeBatches(training.length, batchSize);
    const { specs } = this.#generatorGraph(0);
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
    const discriminator = adversarial.weight > 0 ? discriminatorGraph(this.config, batchSize) : undefined;
    this.#discriminator = discriminator && new Trainable(discriminator.specs, { ...settings, averageDecay: 0 });
    this.#statistics = new DiscriminatorStatistics(discriminator?.statistics ?? []);
    this.#usage = new CodebookUsage(this.config.codebookSize, tokensOf ? 0 : reviveSteps, seed);
    this.#values = {
      ...perceptual.weights,
      ...this.#frozen,
      ...this.#discriminator?.values,
      ...this.#generator.values,
    };
    this.#picture = emptyTensor('float32', [batchSize, 3, this.config.imageSize, this.config.imageSize]);
  }

  static config(settings: VqganTraining): VqganConfig {
    const { model } = settings;
    return typeof model === 'string' ? vqganConfigSchema.parse(VQGAN_PRESETS[model]) : model;
  }

  batches(epoch: number, startStep: number): AsyncIterable<ImageBatch> {
    const { batchSize, seed, augmentation } = this.settings;
    return this.training.batches({ batchSize, training: true, seed, epoch, startStep, augmentation });
  }

  async step(batch: ImageBatch, { epoch, globalStep, learningRate }: StepContext): Promise<Metrics> {
    const { adversarial } = this.settings;
    const joined = this.#discriminator !== undefined && epoch >= adversarial.startEpoch;
    const graph = await this.#graph(joined ? 'adversarial' : 'plain', () =>
      this.#generatorGraph(joined ? adversarial.weight : 0),
    );
    const into = { ...this.#generator.gradients, picture: this.#picture };
    const outputs = await graph.run(this.#values, { images: batch.images }, into);
    const { skipped } = this.#generator.step(learningRate);
    if (!skipped) this.#usage.count(outputs['tokens']!);
    const metrics: Record<string, number> = {
      loss: scalarOf(outputs, 'loss'),
      psnr: -10 * Math.log10(scalarOf(outputs, 'mse') / 4),
      quantizer: scalarOf(outputs, 'quantizer'),
      codes: this.#usage.used,
    };
    if (outputs['perceptual']) metrics['perceptual'] = scalarOf(outputs, 'perceptual');
    // What a broken step made must reach neither the codes nor the discriminator.
    if (skipped) return { ...metrics, skipped: 1 };
    if (joined) {
      metrics['adversarial'] = scalarOf(outputs, 'adversarial');
      metrics['adaptive'] = scalarOf(outputs, 'adaptive');
      this.#statistics.update(outputs, 'fake');
      Object.assign(metrics, await this.#stepDiscriminator(batch, learningRate));
    }
    if (this.#usage.isDue(globalStep)) {
      const { rows, tokens } = outputs as { rows: Tensor<'float32'>; tokens: Tensor };
      this.#usage.revive(this.#generator.arena, rows, tokens, globalStep);
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
    if (pictures === 0) return undefined;
    const psnr = decibels / pictures;
    return { score: -psnr, metrics: { psnr, mse: squares / pictures } };
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

  async #stepDiscriminator(batch: ImageBatch, learningRate: number): Promise<Metrics> {
    const discriminator = this.#discriminator!;
    const graph = await this.#graph('discriminator', () => discriminatorGraph(this.config, this.batchSize));
    const feeds = { real: batch.images, fake: this.#picture };
    const outputs = await graph.run(discriminator.values, feeds, discriminator.gradients);
    const { skipped } = discriminator.step(this.settings.adversarial.learningRate ?? learningRate);
    if (!skipped) for (const which of ['real', 'fake']) this.#statistics.update(outputs, which);
    return {
      discriminator: scalarOf(outputs, 'loss'),
      real: scalarOf(outputs, 'real_logit'),
      fake: scalarOf(outputs, 'fake_logit'),
      ...(skipped ? { skipped: 1 } : {}),
    };
  }

  async *#reconstructions(): AsyncGenerator<{ original: RgbImage[]; decoded: RgbImage[] }> {
    if (!this.validation) return;
    const { batchSize, validationBatches } = this.settings;
    const graph = await this.#graph('reconstruction', () => reconstructionGraph(this.config, batchSize));
    const values = { ...this.#frozen, ...Object.fromEntries(this.#generator.weights) };
    let left = validationBatches;
    for await (const { images } of this.validation.batches({ batchSize, training: false })) {
      if (left-- === 0) break;
      const count = images.shape[0]!;
      const outputs = await graph.run(values, { images: padBatch(images, batchSize) });
      const decoded = tensorToImages(outputs['picture'] as Tensor<'float32'>).slice(0, count);
      yield { original: tensorToImages(images), decoded };
    }
  }

  #generatorGraph(adversarial: number): BuiltGraph {
    const { l1, mse, quantizer, batchSize } = this.settings;
    const perceptual = this.perceptual.network;
    const losses = { l1, mse, quantizer, perceptual, adversarial };
    return generatorGraph(this.config, batchSize, losses, (name) => this.#isTrained(name));
  }

  #isTrained(name: string): boolean {
    return this.tokensOf ? isDecoder(name) : isGenerator(name);
  }

  /** Compiled when it is first needed. */
  #graph(key: string, build: () => BuiltGraph): Promise<StepGraph> {
    const known = this.#graphs.get(key) ?? StepGraph.compile(build().graph, this.settings.threads);
    this.#graphs.set(key, known);
    return known;
  }
}
