import { invalidArgument } from '@clip-gen/errors';
import type { ArenaSlice, ParameterArena } from './parameter-arena.ts';

/**
 * L2 norm of all gradients together, summed in float64 in a fixed order: equal gradients give equal bits. NaN or
 * Infinity exactly when a gradient is.
 *
 * @param groups only these groups' parameters; default all
 */
export function globalNorm(arena: ParameterArena, groups?: readonly string[]): number {
  return Math.sqrt(gradientSquares(arena.slicesOf(groups)));
}

/**
 * Sum of the squares of these parameters' gradients, in float64. Bucket after bucket, each going on from the sum
 * `before` it, it comes to the bits that `globalNorm` takes the root of.
 */
export function gradientSquares(slices: readonly ArenaSlice[], before = 0): number {
  let sum = before;
  for (const { kernels, address, bytes } of slices) sum += kernels.squareSum(address.gradients!, bytes);
  return sum;
}

/**
 * The factor that brings a gradient of this norm down to `maxNorm`: `min(1, maxNorm / norm)`; 1 for a norm of 0.
 *
 * @throws invalid_argument unless maxNorm is a positive number
 */
export function clipScale(norm: number, maxNorm: number): number {
  if (!(maxNorm > 0)) throw invalidArgument('maxNorm', 'a positive number', maxNorm);
  return norm > maxNorm ? maxNorm / norm : 1;
}
