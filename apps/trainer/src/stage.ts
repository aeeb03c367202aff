import type { RgbImage } from '@clip-gen/image';
import type { Tensor } from '@clip-gen/tensor';
import type { World } from './distributed/world.ts';
import type { Trainable } from './trainable.ts';

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

/** The end of a round of local steps, the same for all processes. */
export interface RoundEnd {
  /** Place in `world.members` of a process that took the steps of the round. */
  readonly root: number;
  /** Whether this is that process. */
  readonly isRoot: boolean;
  /** The step that the round began with. */
  readonly from: number;
  readonly steps: number;
}

/** What processes exchange that take steps alone between two meetings. */
export interface RoundState {
  /** Whose parameters the outer step moves. */
  readonly trainables: readonly Trainable[];
  /** What else is the same everywhere after `settle`, of four bytes an element. */
  readonly shared: readonly Tensor[];
  /** Called by all after the outer step. What it changes is the same everywhere then. */
  settle?(world: World, end: RoundEnd): Promise<void>;
  /** Called when this process has taken `shared` and the parameters of another. */
  adopted?(): void;
}

/**
 * One of the trainings, as the loop sees it. A batch is a function of the pictures, the settings and
 * (epoch, step in the epoch) alone; what is drawn within a step, of the settings and the global step. Where several
 * processes train together, a stage gives and takes its own share of the batch; metrics are those of the whole.
 */
export interface Stage<Batch = unknown> {
  readonly name: 'clip' | 'vqgan' | 'gpt' | 'preview';
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
  /** None where a step needs the other processes. */
  readonly rounds?: RoundState;
  /** @throws failed_precondition when the state is of another model; data_corrupt when the notes are damaged */
  restore(tensors: ReadonlyMap<string, Tensor>, notes: Readonly<Record<string, unknown>>): void;
  model(): ModelFiles;
  close(): Promise<void>;
}
