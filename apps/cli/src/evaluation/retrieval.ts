import { cosine } from '@clip-gen/generation';

/**
 * How often the i-th query's best target by cosine is the i-th; a tie with another target is no hit.
 *
 * @param queries unit vectors
 * @param targets unit vectors, as many
 * @returns hits, in [0, queries.length]
 */
export function rankOneHits(queries: readonly Float32Array[], targets: readonly Float32Array[]): number {
  return queries.filter((query, i) => {
    const own = cosine(query, targets[i]!);
    return targets.every((target, j) => j === i || cosine(query, target) < own);
  }).length;
}
