import { invalidArgument } from '@clip-gen/errors';
import { RandomStream } from '@clip-gen/rng';

/**
 * The random number that decides one token: it depends on nothing but its arguments, so a request draws the same tokens
 * whatever else is in the batch, and any token can be drawn again alone.
 *
 * @param seed integer in [0, 2^53)
 * @param candidate which picture of the request, in [0, 2^32)
 * @param position which token of the picture, in [0, 2^32)
 * @returns uniform in [0, 1), 32 bits of resolution
 */
export function tokenUniform(seed: number, candidate: number, position: number): number {
  if (candidate >>> 0 !== candidate) throw invalidArgument('candidate', 'an integer in [0, 2^32)', candidate);
  if (position >>> 0 !== position) throw invalidArgument('position', 'an integer in [0, 2^32)', position);
  return new RandomStream(seed, candidate, position).uniform();
}
