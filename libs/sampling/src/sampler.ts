import { invalidArgument } from '@clip-gen/errors';
import { NucleusSelector } from './nucleus.ts';
import { validateSampling, validateVocabularySize } from './sampling-options.ts';
import type { SamplingOptions } from './sampling-options.ts';
import { RowMemory } from './row-memory.ts';
import { Shortlist } from './shortlist.ts';
import { TopKSelector } from './top-k.ts';

/**
 * Draws tokens from rows of logits: temperature, then the topK largest, then of those the fewest whose renormalised
 * probability reaches topP, then one of these by its probability, in index order. Equal logits rank by index, so the
 * result is a pure function of logits, options and the uniform number. The buffers are allocated once, those of a row in a
 * `WebAssembly.Memory`, for which Node reserves gigabytes of addresses; use one sampler a thread.
 */
export class Sampler {
  readonly #memory: RowMemory;
  readonly #shortlist: Shortlist;
  readonly #selector: TopKSelector;
  readonly #weights: Float64Array;
  readonly #nucleus: NucleusSelector;

  /** @param vocabularySize V, in [1, 2^21] */
  constructor(readonly vocabularySize: number) {
    validateVocabularySize(vocabularySize);
    this.#memory = new RowMemory(vocabularySize);
    this.#shortlist = new Shortlist(this.#memory);
    this.#selector = new TopKSelector(this.#memory);
    this.#weights = new Float64Array(vocabularySize);
    this.#nucleus = new NucleusSelector(vocabularySize);
  }

  /**
   * @param logits (V), float32, finite; not changed. Guidance is applied before, by `combineGuidance`.
   * @param uniform in [0, 1), e.g. `tokenUniform(seed, candidate, position)`
   * @returns the token's index
   * @throws invalid_argument for options out of bounds, another length, or a logit that is NaN or infinite
   */
  sampleRow(logits: Float32Array, options: SamplingOptions, uniform: number): number {
    const { temperature, topK, topP } = validateSampling(options, this.vocabularySize);
    if (!(uniform >= 0 && uniform < 1)) throw invalidArgument('uniform', 'in [0, 1)', uniform);
    const size = this.vocabularySize;
    if (logits.length !== size) throw invalidArgument('logits', `of ${size} elements`, logits.length);
    const memory = this.#memory;
    const { row, keys, indices, chosen } = memory;
    const listed = this.#shortlist.fill(logits, temperature === 0 ? 1 : topK);
    if (temperature === 0 || topK === 1) return indices[memory.placeOfLargest]!;

    const weights = this.#weights;
    const max = memory.largest;
    this.#selector.select(listed, topK);
    let total = 0;
    for (let i = 0; i < topK; i++) {
      const weight = Math.exp((row[indices[chosen[i]!]!]! - max) / temperature);
      weights[i] = weight;
      total += weight;
    }
    let kept = topK;
    if (topP < 1) {
      kept = this.#nucleus.select(keys, chosen, weights, topK, topP * total);
      total = 0;
      for (let i = 0; i < kept; i++) total += weights[i]!;
    }
    return indices[this.#draw(kept, uniform * total)]!;
  }

  /** The first of `count` chosen at which the running sum of weights passes `target`. */
  #draw(count: number, target: number): number {
    const { chosen } = this.#memory;
    const weights = this.#weights;
    let sum = 0;
    let drawn = 0;
    for (let i = 0; i < count; i++) {
      const weight = weights[i]!;
      if (weight === 0) continue;
      drawn = chosen[i]!; // the last of positive weight where rounding leaves the target just out of reach
      sum += weight;
      if (target < sum) break;
    }
    return drawn;
  }
}
