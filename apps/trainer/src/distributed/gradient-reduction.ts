import { gradientSquares, type ArenaBucket, type ParameterArena } from '@clip-gen/optimizer';
import type { World } from './world.ts';

/**
 * The gradients of one step on their way to the mean over all processes. A bucket leaves as soon as the last run of the
 * graph has written it; what arrived first is measured first, while the rest travels.
 */
export class GradientReduction {
  readonly #arena: ParameterArena;
  readonly #buckets: readonly ArenaBucket[];
  readonly #runs: number;
  readonly #world: World;
  readonly #travelling: { readonly bucket: ArenaBucket; readonly arrival: Promise<void> }[] = [];

  /**
   * @param buckets all of the arena's gradients
   * @param runs of the graph in this step
   */
  constructor(arena: ParameterArena, buckets: readonly ArenaBucket[], runs: number, world: World) {
    this.#arena = arena;
    this.#buckets = buckets;
    this.#runs = runs;
    this.#world = world;
  }

  /** A run of the graph has written a bucket. Every process says so in the same order. */
  written(run: number, index: number): void {
    const bucket = this.#buckets[index]!;
    if (run > 0) this.#arena.accumulateMicroGradients(bucket.slices);
    if (run < this.#runs - 1 || this.#world.size === 1) return;
    const arrival = this.#world.mean([bucket.view]);
    arrival.catch(() => undefined); // told when its turn comes
    this.#travelling.push({ bucket, arrival });
  }

  /** Resolves when all have arrived. @returns the norm of them all; none in a world of one process */
  async norm(): Promise<number | undefined> {
    if (this.#world.size === 1) return undefined;
    let squares = 0;
    for (const { bucket, arrival } of this.#travelling) {
      await arrival;
      squares = gradientSquares(bucket.slices, squares);
    }
    return Math.sqrt(squares);
  }
}
