import { emptyTensor, tensor, type Tensor } from '@clip-gen/tensor';
import { updateRunningStatistics, type BatchStatistics } from '@clip-gen/vqgan';
import type { World } from '../distributed/world.ts';
import { savedTensor } from '../saved-state.ts';

interface Running {
  /** Values that the variance of one batch was taken over. */
  readonly count: number;
  readonly mean: Tensor<'float32'>; // (C)
  readonly variance: Tensor<'float32'>; // (C)
  /** Batches taken in, int32 (1). */
  readonly batches: Tensor<'int32'>;
  /** Of them, by this process alone since all met. */
  own: number;
}

/**
 * Running mean and variance of the discriminator's BatchNorms. Training uses those of the batch; these belong to the
 * exported weights, as PyTorch's state dict has them.
 */
export class DiscriminatorStatistics {
  readonly #running: ReadonlyMap<string, Running>;

  /** @param modules one entry a BatchNorm */
  constructor(modules: readonly BatchStatistics[]) {
    this.#running = new Map(
      modules.map(({ module, mean: { shape }, count }) => {
        const channels = shape[1] as number;
        const variance = emptyTensor('float32', [channels]);
        variance.data.fill(1);
        const mean = emptyTensor('float32', [channels]);
        return [module, { count, mean, variance, batches: emptyTensor('int32', [1]), own: 0 }];
      }),
    );
  }

  /**
   * Takes in one pass of all processes, as if their parts were one batch.
   *
   * @param which prefix of the pass's outputs `<which>.<module>.{mean,inverse_std}`
   */
  async update(outputs: Readonly<Record<string, Tensor>>, which: string, world: World): Promise<void> {
    for (const [module, running] of this.#running) {
      const mean = (outputs[`${which}.${module}.mean`] as Tensor<'float32'>).data;
      const inverse = (outputs[`${which}.${module}.inverse_std`] as Tensor<'float32'>).data;
      const { mean: runningMean, variance, count } = running;
      const [wholeMean, wholeInverse] = await pooled(mean, inverse, world);
      const into = { mean: runningMean.data, variance: variance.data };
      updateRunningStatistics(into, wholeMean, wholeInverse, count * world.size);
      running.batches.data[0]!++;
      running.own++;
    }
  }

  /**
   * The end of a round of local steps, in each of which a process took in its own batch: all get the mean and the variance
   * of all, each process with the weight of the batches that it took in.
   */
  async settle(world: World): Promise<void> {
    if (this.#running.size === 0) return;
    const own = [...this.#running.values()].flatMap((running) => {
      return [running.own, running.batches.data[0]!, ...running.mean.data, ...running.variance.data];
    });
    const all = await world.numbers(own);
    let at = 0;
    for (const { mean, variance, batches } of this.#running.values()) {
      const channels = mean.data.length;
      const theirs = all.map((numbers) => {
        const [weight = 0, taken = 0, ...values] = numbers.slice(at, at + 2 + 2 * channels);
        return { weight, taken, means: values.slice(0, channels), variances: values.slice(channels) };
      });
      at += 2 + 2 * channels;
      batches.data[0] = Math.max(...theirs.map(({ taken }) => taken));
      const total = theirs.reduce((sum, { weight }) => sum + weight, 0);
      if (total === 0) continue;
      for (let c = 0; c < channels; c++) {
        const whole = theirs.reduce((sum, { weight, means }) => sum + (weight / total) * means[c]!, 0);
        mean.data[c] = whole;
        variance.data[c] = theirs.reduce(
          (sum, { weight, means, variances }) => sum + (weight / total) * (variances[c]! + (means[c]! - whole) ** 2),
          0,
        );
      }
    }
    this.adopted();
  }

  /** The statistics have come from another process. */
  adopted(): void {
    for (const running of this.#running.values()) running.own = 0;
  }

  /** What is the same everywhere after `settle`. */
  get shared(): readonly Tensor[] {
    return [...this.#running.values()].flatMap(({ mean, variance, batches }) => [mean, variance, batches]);
  }

  /** Batches taken in, by module. */
  get batches(): Readonly<Record<string, number>> {
    return Object.fromEntries([...this.#running].map(([module, { batches }]) => [module, batches.data[0]!]));
  }

  /** What a checkpoint must keep besides `batches`. */
  *tensors(): Generator<readonly [string, Tensor]> {
    for (const [module, { mean, variance }] of this.#running) {
      yield [`running.${module}.mean`, mean];
      yield [`running.${module}.variance`, variance];
    }
  }

  /** @throws failed_precondition when a tensor is missing or has another shape */
  restore(saved: ReadonlyMap<string, Tensor>, batches: Readonly<Record<string, number>>): void {
    for (const [module, running] of this.#running) {
      running.mean.data.set(savedTensor(saved, `running.${module}.mean`, running.mean).data);
      running.variance.data.set(savedTensor(saved, `running.${module}.variance`, running.variance).data);
      running.batches.data[0] = batches[module] ?? 0;
      running.own = 0; // checkpoints are made where all have met
    }
  }

  /** Under PyTorch's names, for the exported model. */
  *weights(): Generator<readonly [string, Tensor]> {
    for (const [module, { mean, variance, batches }] of this.#running) {
      yield [`${module}.running_mean`, mean];
      yield [`${module}.running_var`, variance];
      yield [`${module}.num_batches_tracked`, tensor('int64', [], BigInt64Array.of(BigInt(batches.data[0]!)))];
    }
  }
}

/** Mean and 1/√(variance + ε) over the processes, of each one's. The ε stays within the variance, where it was. */
async function pooled(mean: Float32Array, inverse: Float32Array, world: World): Promise<[Float32Array, Float32Array]> {
  if (world.size === 1) return [mean, inverse];
  const all = await world.numbers([...mean, ...inverse]);
  const average = (of: (numbers: readonly number[]) => number): number =>
    all.reduce((sum, numbers) => sum + of(numbers), 0) / all.length;
  const wholeMean = Float32Array.from(mean, (_, c) => average((numbers) => numbers[c]!));
  const wholeInverse = Float32Array.from(inverse, (_, c) => {
    const square = average((numbers) => numbers[mean.length + c]! ** -2 + numbers[c]! ** 2);
    return (square - average((numbers) => numbers[c]!) ** 2) ** -0.5;
  });
  return [wholeMean, wholeInverse];
}
