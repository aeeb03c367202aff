import { invalidArgument } from '@clip-gen/errors';
import type { Matrix } from './block-scales.ts';

/** How far a matrix is from the one that stands for it. */
export interface ErrorStatistics {
  /** Weights compared. */
  readonly count: number;
  /** Σ w² of the original. */
  readonly energy: number;
  /** Σ (w − ŵ)². */
  readonly squaredError: number;
  /** Largest |w − ŵ|. */
  readonly largestError: number;
}

/** @throws invalid_argument when the sizes differ */
export function errorStatistics(original: Matrix, approximate: Matrix): ErrorStatistics {
  const { rows, columns, data } = original;
  if (approximate.rows !== rows || approximate.columns !== columns) {
    throw invalidArgument(
      'approximate',
      `a matrix ${rows} × ${columns}`,
      `${approximate.rows} × ${approximate.columns}`,
    );
  }
  let [energy, squaredError, largestError] = [0, 0, 0];
  for (let i = 0; i < data.length; i++) {
    const error = Math.abs(data[i]! - approximate.data[i]!);
    energy += data[i]! ** 2;
    squaredError += error * error;
    if (error > largestError) largestError = error;
  }
  return { count: data.length, energy, squaredError, largestError };
}

/** √(Σ (w − ŵ)² / Σ w²) over several matrices; 0 when all weights are zero. */
export function relativeError(statistics: Iterable<ErrorStatistics>): number {
  let [energy, squaredError] = [0, 0];
  for (const each of statistics) {
    energy += each.energy;
    squaredError += each.squaredError;
  }
  return energy === 0 ? 0 : Math.sqrt(squaredError / energy);
}
