/** How much of a codebook is used. */
export class TokenUsage {
  readonly #counts: Float64Array;
  #total = 0;

  constructor(readonly codebookSize: number) {
    this.#counts = new Float64Array(codebookSize);
  }

  add(tokens: Int32Array): void {
    for (const token of tokens) this.#counts[token]!++;
    this.#total += tokens.length;
  }

  /** Codes that occurred. */
  get used(): number {
    return this.#counts.reduce((used, count) => used + (count > 0 ? 1 : 0), 0);
  }

  /** exp of the entropy of the code frequencies: K when all are used alike, 1 when one is. */
  get perplexity(): number {
    let entropy = 0;
    for (const count of this.#counts) {
      if (count > 0) entropy -= (count / this.#total) * Math.log(count / this.#total);
    }
    return Math.exp(entropy);
  }
}
