import { clipConfigSchema } from '@clip-gen/clip';
import type { ImageBatch, ImageDataset } from '@clip-gen/datasets';
import { ClipGenError } from '@clip-gen/errors';
import { contactSheet, tensorToImages, type RgbImage } from '@clip-gen/image';
import { emptyTensor, tensor, type Tensor } from '@clip-gen/tensor';
import {
  updateRunningStatistics,
  VQGAN_PRESETS,
  vqganConfigSchema,
  type BatchStatistics,
  type VqganConfig,
} from '@clip-gen/vqgan';
import type { VqganTraining } from '../config.ts';
import { loadFrozen, loadFrozenFile, requireWeights } from '../frozen-weights.ts';
import { readModelConfig } from '../model-folder.ts';
import type { Metrics, ModelFiles, Stage, StageState, StepContext } from '../stage.ts';
import { scalarOf, StepGraph } from '../step-graph.ts';
import { Trainable } from '../trainable.ts';
import { CodebookUsage } from './codebook-usage.ts';
import {
  discriminatorGraph,
  generatorGraph,
  isGenerator,
  PERCEPTUAL_PREFIX,
  reconstructionGraph,
  type Perceptual,
} from './vqgan-graphs.ts';

type Tensors = Record<string, Tensor>;

/** Pictures of the validation contact sheet: originals above their reconstructions. */
const SHOWN = 16;

/** VQGAN training (arXiv 2203.00386, section 3.1): images alone. */
export class VqganStage implements Stage<ImageBatch> {
  readonly name = 'vqgan';
  readonly batchSize: number;
  readonly stepsPerEpoch: number;
  readonly #generator: Trainable;
  readonly #discriminator: Trainable | undefined;
  readonly #usage: CodebookUsage;
  readonly #running = new Map<string, { mean: Tensor<'float32'>; variance: Tensor<'float32'>; batches: number }>();
  readonly #graphs = new Map<string, Promise<StepGraph>>();
  readonly #picture: Tensor<'float32'>;
  readonly #statistics: readonly BatchStatistics[];

  private constructor(
    readonly settings: VqganTraining,
    readonly config: VqganConfig,
    readonly training: ImageDataset,
    readonly validation: ImageDataset | undefined,
    readonly perceptual: Perceptual,
    readonly frozen: Tensors,
  ) {
    this.batchSize = settings.batchSize;
    this.stepsPerEpoch = training.batchCount(settings.batchSize, true);
    const generator = this.#generatorGraph(0);
    requireWeights(
      generator.specs.filter(({ name }) => name.startsWith(PERCEPTUAL_PREFIX)),
      frozen,
      'perceptual network',
    );
    this.#generator = new Trainable(
      generator.specs.filter(({ name }) => isGenerator(name)),
      settings,
    );
    if (settings.adversarial.weight > 0) {
      const { specs, statistics } = discriminatorGraph(config, settings.batchSize);
      this.#discriminator = new Trainable(specs, { ...settings, averageDecay: 0 });
      this.#statistics = statistics;
      for (const { module, mean } of statistics) {
        const channels = mean.shape[1] as number;
        const variance = emptyTensor('float32', [channels]);
        variance.data.fill(1);
        this.#running.set(module, { mean: emptyTensor('float32', [channels]), variance, batches: 0 });
      }
    } else {
      this.#statistics = [];
    }
    this.#usage = new CodebookUsage(config.codebookSize, settings.reviveSteps, settings.seed);
    this.#picture = emptyTensor('float32', [settings.batchSize, 3, config.imageSize, config.imageSize]);
  }

  static config(settings: VqganTraining): VqganConfig {
    const { model } = settings;
    return typeof model === 'string' ? vqganConfigSchema.parse(VQGAN_PRESETS[model]) : model;
  }

  /** @param validation held-back pictures; none: the last losses are the score */
  static async create(settings: VqganTraining, training: ImageDataset, validation?: ImageDataset): Promise<VqganStage> {
    const { perceptual } = settings;
    let built: Perceptual = { kind: 'none' };
    let frozen: Tensors = {};
    if (perceptual.kind === 'clip') {
      built = { ...perceptual, config: await readModelConfig(perceptual.path, clipConfigSchema) };
      frozen = await loadFrozen(perceptual.path, PERCEPTUAL_PREFIX);
    } else if (perceptual.kind === 'lpips') {
      built = perceptual;
      frozen = await loadFrozenFile(perceptual.path, PERCEPTUAL_PREFIX);
    }
    return new VqganStage(settings, VqganStage.config(settings), training, validation, built, frozen);
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
    const values = { ...this.frozen, ...this.#discriminator?.values, ...this.#generator.values };
    const into = { ...this.#generator.gradients, picture: this.#picture };
    const outputs = await graph.run(values, { images: batch.images }, into);
    const { skipped } = this.#generator.step(learningRate);
    this.#usage.count(outputs['tokens']!);
    const metrics: Record<string, number> = {
      loss: scalarOf(outputs, 'loss'),
      psnr: -10 * Math.log10(scalarOf(outputs, 'mse') / 4),
      quantizer: scalarOf(outputs, 'quantizer'),
      codes: this.#usage.used,
    };
    if (skipped) metrics['skipped'] = 1;
    if (outputs['perceptual']) metrics['perceptual'] = scalarOf(outputs, 'perceptual');
    if (joined) {
      metrics['adversarial'] = scalarOf(outputs, 'adversarial');
      metrics['adaptive'] = scalarOf(outputs, 'adaptive');
      this.#updateRunning(outputs, 'fake');
      Object.assign(metrics, await this.#stepDiscriminator(batch, learningRate));
    }
    if (this.#usage.isDue(globalStep)) {
      this.#usage.revive(this.#generator.arena, outputs['rows'] as Tensor<'float32'>, globalStep);
    }
    return metrics;
  }

  async validate(): Promise<{ score: number; metrics: Metrics }> {
    let squares = 0;
    let decibels = 0;
    let pictures = 0;
    for await (const { original, decoded } of this.#reconstructions()) {
      original.forEach((image, i) => {
        const error = meanSquare(image, decoded[i]!);
        squares += error;
        decibels += 10 * Math.log10(255 ** 2 / Math.max(error, 1e-10));
        pictures++;
      });
    }
    if (pictures === 0) return { score: 0, metrics: {} };
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
    const tensors: (readonly [string, Tensor])[] = [...this.#generator.tensors('generator')];
    if (this.#discriminator) tensors.push(...this.#discriminator.tensors('discriminator'));
    for (const [module, { mean, variance }] of this.#running) {
      tensors.push([`running.${module}.mean`, mean], [`running.${module}.variance`, variance]);
    }
    tensors.push(['usage', tensor('int32', [this.#usage.counts.length], this.#usage.counts)]);
    const batches = Object.fromEntries([...this.#running].map(([module, running]) => [module, running.batches]));
    return {
      tensors,
      notes: { generator: this.#generator.steps, discriminator: this.#discriminator?.steps ?? {}, batches },
    };
  }

  restore(tensors: ReadonlyMap<string, Tensor>, notes: Readonly<Record<string, unknown>>): void {
    const counts = notes as {
      generator: Record<string, number>;
      discriminator: Record<string, number>;
      batches: Record<string, number>;
    };
    this.#generator.restore('generator', tensors, counts.generator);
    this.#discriminator?.restore('discriminator', tensors, counts.discriminator);
    for (const [module, running] of this.#running) {
      running.mean.data.set(floats(tensors, `running.${module}.mean`));
      running.variance.data.set(floats(tensors, `running.${module}.variance`));
      running.batches = counts.batches[module] ?? 0;
    }
    this.#usage.counts.set(tensors.get('usage')!.data as Int32Array);
  }

  model(): ModelFiles {
    const weights: (readonly [string, Tensor])[] = [...this.#generator.weights];
    if (this.#discriminator) weights.push(...this.#discriminator.weights);
    for (const [module, { mean, variance, batches }] of this.#running) {
      weights.push([`${module}.running_mean`, mean], [`${module}.running_var`, variance]);
      weights.push([`${module}.num_batches_tracked`, tensor('int64', [], BigInt64Array.of(BigInt(batches)))]);
    }
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
    discriminator.step(this.settings.adversarial.learningRate ?? learningRate);
    this.#updateRunning(outputs, 'real');
    this.#updateRunning(outputs, 'fake');
    return {
      discriminator: scalarOf(outputs, 'loss'),
      real: scalarOf(outputs, 'real_logit'),
      fake: scalarOf(outputs, 'fake_logit'),
    };
  }

  #updateRunning(outputs: Tensors, which: string): void {
    for (const { module, count } of this.#statistics) {
      const running = this.#running.get(module)!;
      const mean = outputs[`${which}.${module}.mean`] as Tensor<'float32'>;
      const inverse = outputs[`${which}.${module}.inverse_std`] as Tensor<'float32'>;
      updateRunningStatistics(
        { mean: running.mean.data, variance: running.variance.data },
        mean.data,
        inverse.data,
        count,
      );
      running.batches++;
    }
  }

  async *#reconstructions(): AsyncGenerator<{ original: RgbImage[]; decoded: RgbImage[] }> {
    if (!this.validation) return;
    const { batchSize, validationBatches } = this.settings;
    const graph = await this.#graph('reconstruction', () => reconstructionGraph(this.config, batchSize));
    const values = Object.fromEntries(this.#generator.weights);
    let left = validationBatches;
    for await (const { images } of this.validation.batches({ batchSize, training: false })) {
      if (left-- === 0) break;
      const count = images.shape[0]!;
      const outputs = await graph.run(values, { images: padBatch(images, batchSize) });
      const decoded = tensorToImages(outputs['picture'] as Tensor<'float32'>).slice(0, count);
      yield { original: tensorToImages(images), decoded };
    }
  }

  #generatorGraph(adversarial: number) {
    const { l1, mse, quantizer, batchSize } = this.settings;
    return generatorGraph(this.config, batchSize, { l1, mse, quantizer, perceptual: this.perceptual, adversarial });
  }

  #graph(key: string, build: () => { graph: Parameters<typeof StepGraph.compile>[0] }): Promise<StepGraph> {
    const known = this.#graphs.get(key) ?? StepGraph.compile(build().graph, this.settings.threads);
    this.#graphs.set(key, known);
    return known;
  }
}

/** A smaller last batch, filled up with zeros. */
export function padBatch(images: Tensor<'float32'>, batchSize: number): Tensor<'float32'> {
  if (images.shape[0] === batchSize) return images;
  const padded = emptyTensor('float32', [batchSize, ...images.shape.slice(1)]);
  padded.data.set(images.data);
  return padded;
}

function meanSquare(a: RgbImage, b: RgbImage): number {
  let sum = 0;
  for (let i = 0; i < a.data.length; i++) sum += (a.data[i]! - b.data[i]!) ** 2;
  return sum / a.data.length;
}

function floats(tensors: ReadonlyMap<string, Tensor>, name: string): Float32Array {
  const found = tensors.get(name);
  if (found?.dtype !== 'float32') throw new ClipGenError('failed_precondition', `the checkpoint lacks ${name}`);
  return found.data as Float32Array;
}
