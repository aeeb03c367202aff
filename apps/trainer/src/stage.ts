import type { RgbImage } from '@clip-gen/image';
import type { Tensor } from '@clip-gen/tensor';

export type Metrics = Readonly<Record<string, number>>;

/** Where in the schedule a step stands. */
export interface StepContext {
  readonly epoch: number;
  /** Steps taken since the beginning of the training. */
  readonly globalStep: number;
  readonly learningRate: number;
}

/** What a stage keeps in a checkpoint besides the loop's own counters. */
export interface StageState {
  readonly tensors: Iterable<readonly [string, Tensor]>;
  readonly notes: Readonly<Record<string, unknown>>;
}

/** What others load: `config.json`, `model.safetensors` and further files. */
export interface ModelFiles {
  readonly config: unknown;
  readonly weights: Iterable<readonly [string, Tensor]>;
  readonly files?: ReadonlyMap<string, string>;
}

/** One of the three trainings, as the loop sees it. Batches are a function of (seed, epoch, step) alone. */
export interface Stage<Batch = unknown> {
  readonly name: 'clip' | 'vqgan' | 'gpt';
  readonly batchSize: number;
  readonly stepsPerEpoch: number;
  batches(epoch: number, startStep: number): AsyncIterable<Batch>;
  /** One update; `loss` must be among the metrics. */
  step(batch: Batch, context: StepContext): Promise<Metrics>;
  /** Metrics on held-back pictures; the smallest `score` is the best checkpoint. */
  validate(): Promise<{ readonly score: number; readonly metrics: Metrics }>;
  /** Pictures for people to look at, by tag. */
  illustrate(): Promise<ReadonlyMap<string, RgbImage>>;
  state(): StageState;
  /** @throws failed_precondition when the state is of another model */
  restore(tensors: ReadonlyMap<string, Tensor>, notes: Readonly<Record<string, unknown>>): void;
  model(): ModelFiles;
  close(): Promise<void>;
}
