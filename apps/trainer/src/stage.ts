import type { RgbImage } from '@clip-gen/image';
import type { Tensor } from '@clip-gen/tensor';

export type Metrics = Readonly<Record<string, number>>;

/** Where in the schedule a step stands. */
export interface StepContext {
  readonly epoch: number;
  /** Steps taken since the beginning of the training. */
  readonly globalStep: number;
  readonly learningRate: number;
  /** Told before the first value is changed: a step that fails earlier has left everything as it was. */
  readonly onChange?: () => void;
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
  /** Further safetensors files. */
  readonly tables?: ReadonlyMap<string, TensorFile>;
}

/** What a safetensors file holds. */
export interface TensorFile {
  readonly tensors: readonly (readonly [string, Tensor])[];
  readonly metadata: Readonly<Record<string, string>>;
}

/** Metrics on held-back pictures. */
export interface Validation {
  /** The smallest is the best checkpoint. */
  readonly score: number;
  readonly metrics: Metrics;
}

/**
 * One of the three trainings, as the loop sees it. A batch is a function of the pictures, the settings and
 * (epoch, step in the epoch) alone; what is drawn within a step, of the settings and the global step. Where several
 * processes train together, a stage gives and takes its own share of the batch; metrics are those of the whole.
 */
export interface Stage<Batch = unknown> {
  readonly name: 'clip' | 'vqgan' | 'gpt';
  /** Pictures of a step, of all processes together. */
  readonly batchSize: number;
  readonly stepsPerEpoch: number;
  batches(epoch: number, startStep: number): AsyncIterable<Batch>;
  /**
   * One update. `loss` is among the metrics, and `skipped` when a gradient was not finite, so that nothing was changed.
   */
  step(batch: Batch, context: StepContext): Promise<Metrics>;
  /** None when there are no pictures to validate with. All processes take part. */
  validate(): Promise<Validation | undefined>;
  /** Pictures for people to look at, by tag; of one process alone. */
  illustrate(): Promise<ReadonlyMap<string, RgbImage>>;
  state(): StageState;
  /** @throws failed_precondition when the state is of another model; data_corrupt when the notes are damaged */
  restore(tensors: ReadonlyMap<string, Tensor>, notes: Readonly<Record<string, unknown>>): void;
  model(): ModelFiles;
  close(): Promise<void>;
}
