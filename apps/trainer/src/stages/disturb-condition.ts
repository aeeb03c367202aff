import { RandomStream } from '@clip-gen/rng';
import type { Tensor } from '@clip-gen/tensor';
import type { GptTraining } from '../config.ts';
import { STREAMS } from '../streams.ts';

/**
 * Adds noise to the conditions (B, E), of unit length, and drops some of them, in place: a function of
 * (seed, global step, place in the whole batch).
 *
 * @param first place of the first row in the batch of all processes
 */
export function disturbCondition(
  condition: Tensor<'float32'>,
  settings: Pick<GptTraining, 'conditionDropout' | 'conditionNoise' | 'seed'>,
  globalStep: number,
  first = 0,
): void {
  const { conditionDropout, conditionNoise, seed } = settings;
  const [batch, width] = condition.shape as [number, number];
  // A word for the dropout, two for each normal draw: every row takes as many.
  const words = conditionNoise > 0 ? 1 + 2 * width : 1;
  const stream = new RandomStream(seed, STREAMS.condition, globalStep, first * words);
  for (let b = 0; b < batch; b++) {
    const row = condition.data.subarray(b * width, (b + 1) * width);
    const drop = stream.uniform() < conditionDropout;
    if (conditionNoise > 0) perturb(row, conditionNoise, stream);
    if (drop) row.fill(0);
  }
}

/** row + noise·u for a random unit vector u, scaled back to unit length, in place. */
function perturb(row: Float32Array, noise: number, stream: RandomStream): void {
  const direction = Float64Array.from(row, () => stream.normal());
  const scale = noise / Math.hypot(...direction);
  for (let i = 0; i < row.length; i++) row[i]! += direction[i]! * scale;
  const length = Math.hypot(...row);
  for (let i = 0; i < row.length; i++) row[i]! /= length;
}
