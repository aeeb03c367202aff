import { MAX_VOCABULARY_SIZE } from './sampling-options.ts';

/** Bins a nat; 2048 bins reach 32 nats below the largest, past which a token's share is under 1e-13. */
const BINS_PER_NAT = 64;
const BINS = 2048;

/**
 * Finds the nucleus (Holtzman et al., arXiv 1904.09751): the fewest tokens, most probable first, whose weights reach a
 * sum. Adds the weights up in bins of nearly equal probability and sorts only the one bin in which the sum is reached.
 */
export class NucleusSelector {
  readonly #mass = new Float64Array(BINS);
  readonly #bins: Uint16Array;
  readonly #ranks: Float64Array;

  constructor(size: number) {
    this.#bins = new Uint16Array(size);
    this.#ranks = new Float64Array(size);
  }

  /**
   * Moves the nucleus to the front of `tokens` and `weights`, keeping its order. Among equal logits the first win.
   *
   * @param keys `sortableKey` of logits
   * @param tokens indices into `keys`
   * @param weights of these tokens, `exp` of what lies between them and the largest; falling as the logits fall
   * @param count how many tokens and weights there are
   * @param enough the sum to reach, positive
   * @returns how many tokens are in the nucleus; all of them when rounding leaves the sum just short
   */
  select(keys: Int32Array, tokens: Uint32Array, weights: Float64Array, count: number, enough: number): number {
    const bins = this.#bins;
    const mass = this.#mass.fill(0);
    for (let i = 0; i < count; i++) {
      const bin = Math.min(BINS - 1, -Math.log(weights[i]!) * BINS_PER_NAT) | 0;
      bins[i] = bin;
      mass[bin]! += weights[i]!;
    }
    let bin = 0;
    let sum = 0;
    while (bin < BINS - 1 && sum + mass[bin]! < enough) sum += mass[bin++]!;

    let members = 0;
    for (let i = 0; i < count; i++) if (bins[i] === bin) this.#ranks[members++] = rankOf(keys[tokens[i]!]!, i);
    const ranks = this.#ranks.subarray(0, members).sort();
    let inside = 0;
    while (inside < members && sum < enough) sum += weights[positionOf(ranks[inside++]!)]!;
    const last = inside === 0 ? -Infinity : ranks[inside - 1]!;

    let kept = 0;
    for (let i = 0; i < count; i++) {
      if (bins[i]! > bin || (bins[i] === bin && rankOf(keys[tokens[i]!]!, i) > last)) continue;
      tokens[kept] = tokens[i]!;
      weights[kept++] = weights[i]!;
    }
    return kept;
  }
}

/** Logit and position in one float64, exactly; smaller is better. Plain numbers sort far faster than by a function. */
function rankOf(key: number, position: number): number {
  return -key * MAX_VOCABULARY_SIZE + position;
}

function positionOf(rank: number): number {
  return rank - Math.floor(rank / MAX_VOCABULARY_SIZE) * MAX_VOCABULARY_SIZE;
}
