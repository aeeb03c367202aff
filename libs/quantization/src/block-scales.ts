import { ClipGenError } from '@clip-gen/errors';
import type { BlockFormat } from '@clip-gen/graph';
import { blocksOf, zeroPoint } from './block-format.ts';

/**
 * How the scale of a block is chosen. `nearest`: its largest weight takes the largest integer, as is usual. `search`: the
 * scale whose integers leave the least squared error.
 */
export type ScaleChoice = 'nearest' | 'search';

/** A dense matrix (N, K), row-major. */
export interface Matrix {
  readonly rows: number;
  readonly columns: number;
  readonly data: Float32Array;
}

/** Where the largest weight of a block lands, in integers of its side, as multiples of the largest integer. */
const LANDINGS: readonly number[] = [0.88, 0.94, 1, 1.06, 1.12, 1.2, 1.3];
/** Rounds of refinement: most blocks stand still after two. */
const REFINEMENTS = 3;
/** Adding and taking away 1.5 · 2^52 rounds a double to the nearest integer, ties to even. */
const ROUND = 1.5 * 2 ** 52;

/**
 * A scale for each block of each row of a matrix.
 *
 * `search` minimises Σ h·(w − s·q)² over the scale s and the integers q, by turns (Lloyd 1982): for a scale the integers are
 * the nearest ones, for integers the best scale is Σ h·w·q / Σ h·q². It starts from scales that clip the largest weight more
 * or less, on either side of zero, and goes on from the best (clipping by least error: Choukroun et al., arXiv 1902.06822).
 *
 * @param importance h, one for each column, ≥ 0: how much an error there matters; default: all the same
 * @returns float32 (N, blocks), the caller's; 0 for a block of zeros; a scale may be negative, since there is one integer
 * more below zero than above
 * @throws failed_precondition when a weight is not finite
 */
export function blockScales(
  matrix: Matrix,
  format: BlockFormat,
  choice: ScaleChoice = 'search',
  importance?: Float32Array,
): Float32Array {
  const { rows, columns, data } = matrix;
  const { blockSize } = format;
  const blocks = blocksOf(columns, format);
  const scales = new Float32Array(rows * blocks);
  const above = zeroPoint(format) - 1;
  const weights = new Float64Array(blockSize);
  const costs = new Float64Array(blockSize).fill(1);
  const search = new BlockSearch(zeroPoint(format));
  for (let row = 0; row < rows; row++) {
    for (let block = 0; block < blocks; block++) {
      const from = block * blockSize;
      const count = Math.min(blockSize, columns - from);
      let largest = 0;
      for (let i = 0; i < count; i++) {
        const weight = data[row * columns + from + i]!;
        weights[i] = weight;
        if (importance) costs[i] = importance[from + i]!;
        if (Math.abs(weight) > Math.abs(largest)) largest = weight;
        if (Number.isFinite(weight)) continue;
        throw new ClipGenError(
          'failed_precondition',
          `weights must be finite to be quantised; row ${row} has ${weight}`,
        );
      }
      if (largest === 0) continue;
      const scale = choice === 'nearest' ? Math.abs(largest) / above : search.best(weights, costs, count, largest);
      scales[row * blocks + block] = scale;
    }
  }
  return scales;
}

/** The search in one block. Its fields are what a round of it finds, so that nothing is allocated in the loop. */
class BlockSearch {
  #scale = 0;
  /** (Σ h·w·q)² / Σ h·q²: what the best scale for these integers takes off Σ h·w². */
  #gain = 0;

  constructor(private readonly below: number) {}

  best(weights: Float64Array, costs: Float64Array, count: number, largest: number): number {
    let [scale, gain] = [0, -1];
    for (const side of [-this.below, this.below - 1]) {
      for (const landing of LANDINGS) {
        this.#round(weights, costs, count, largest / (side * landing));
        if (this.#gain > gain) [scale, gain] = [this.#scale, this.#gain];
      }
    }
    for (let i = 0; i < REFINEMENTS; i++) {
      this.#round(weights, costs, count, scale);
      if (!(this.#gain > gain)) break;
      [scale, gain] = [this.#scale, this.#gain];
    }
    return scale;
  }

  /** Rounds to multiples of `scale` and finds the best scale for the integers that come of it. */
  #round(weights: Float64Array, costs: Float64Array, count: number, scale: number): void {
    const [inverse, least, most] = [1 / scale, -this.below, this.below - 1];
    let product = 0;
    let square = 0;
    for (let i = 0; i < count; i++) {
      const weight = weights[i]!;
      let q = weight * inverse + ROUND - ROUND;
      if (q < least) q = least;
      else if (q > most) q = most;
      const costly = costs[i]! * q;
      product += costly * weight;
      square += costly * q;
    }
    this.#scale = square > 0 ? product / square : 0;
    this.#gain = square > 0 ? (product * product) / square : 0;
  }
}
