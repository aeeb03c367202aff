import { emptyTensor, tensor, type Tensor } from '@clip-gen/tensor';
import { updateRunningStatistics, type BatchStatistics } from '@clip-gen/vqgan';
import type { World } from '../distributed/world.ts';
import { savedTensor } from '../saved-state.ts';

interface Running {
  /** Values that the variance of one batch was taken over. */
  readonly count: number;
  readonly mean: Tensor<'float32'>; // (C)
  readonly variance: Tensor<'float32'>; // (C)
  batches: number;
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
      modules.map(({ module, mean, count }) => {
        const channels = mean.shape[1] as number;
        const variance = emptyTensor('float32', [channels]);
        variance.data.fill(1);
        return [module, { count, mean: emptyTensor('float32', [channels]), variance, batches: 0 }];
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
      running.batches++;
    }
  }

  /** Batches taken in, by module. */
  get batches(): Readonly<Record<string, number>> {
    return Object.fromEntries([...this.#running].map(([module, { batches }]) => [module, batches]));
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
      running.batches = batches[module] ?? 0;
    }
  }

  /** Under PyTorch's names, for the exported model. */
  *weights(): Generator<readonly [string, Tensor]> {
    for (const [module, { mean, variance, batches }] of this.#running) {
      yield [`${module}.running_mean`, mean];
      yield [`${module}.running_var`, variance];
      yield [`${module}.num_batches_tracked`, tensor('int64', [], BigInt64Array.of(BigInt(batches)))];
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
