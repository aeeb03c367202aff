import { ClipGenError } from '@clip-gen/errors';
import { tokenBlock, type TokenEvent } from '@clip-gen/contracts';

/** Tokens of neighbouring candidates at neighbouring positions. The receiver's. */
export type TokenRun = Omit<TokenEvent, 'condition'>;

/**
 * The tokens of one request as far as they are drawn: written by one sampler after the other until the grids are full,
 * read by any number of decoders, each from the beginning. That is what makes both replaceable on the way: a second
 * sampler draws the same tokens again and only new ones are taken; a second decoder reads again.
 *
 * A reader that falls behind gets its next tokens in fewer, larger runs. Memory: 4 bytes a token.
 */
export class TokenLog {
  readonly #grids: Uint32Array;
  /** Positions known of each candidate. */
  readonly #known: Uint32Array;
  #drawn = 0;
  readonly #waiting = new Set<() => void>();

  /**
   * @param candidates grids of the request
   * @param positions tokens T of a grid
   * @param codebookSize codes K
   */
  constructor(
    readonly candidates: number,
    readonly positions: number,
    readonly codebookSize: number,
  ) {
    this.#grids = new Uint32Array(candidates * positions);
    this.#known = new Uint32Array(candidates);
  }

  /** Tokens drawn, of {@link total}. */
  get drawn(): number {
    return this.#drawn;
  }

  get total(): number {
    return this.candidates * this.positions;
  }

  get full(): boolean {
    return this.#drawn === this.total;
  }

  /** The first candidate whose grid is not full; `candidates` when all are. */
  get firstUnfinished(): number {
    const first = this.#known.findIndex((known) => known < this.positions);
    return first === -1 ? this.candidates : first;
  }

  /**
   * Takes what is new of a sampler's event. What is known already must be the same again.
   *
   * @throws internal for an event that does not fit the request, or that contradicts what was drawn before: then the
   * replicas serve different models
   */
  append(event: TokenEvent): void {
    const { firstCandidate, position, tokens } = event;
    const { positions, candidates } = tokenBlock(event);
    if (position + positions > this.positions || firstCandidate + candidates > this.candidates) {
      const upTo = firstCandidate + candidates - 1;
      throw misfit(`tokens of candidates ${firstCandidate} to ${upTo} at ${position} to ${position + positions - 1}`);
    }
    tokens.forEach((token, i) => {
      const at = position + Math.floor(i / candidates);
      const candidate = firstCandidate + (i % candidates);
      const known = this.#known[candidate]!;
      const place = candidate * this.positions + at;
      if (at < known) {
        if (this.#grids[place] !== token) throw new ClipGenError('internal', 'replicas of the sampler disagree');
        return;
      }
      if (at > known) throw misfit(`position ${at} of candidate ${candidate} after ${known} tokens`);
      if (token >= this.codebookSize) throw misfit(`code ${token} of a codebook of ${this.codebookSize}`);
      this.#grids[place] = token;
      this.#known[candidate] = at + 1;
      this.#drawn++;
    });
    for (const wake of this.#waiting) wake();
    this.#waiting.clear();
  }

  /**
   * The tokens of candidates [first, first + count) from the beginning, then as they are drawn, until their grids are
   * full.
   *
   * @param atLeast positions of a run, unless fewer are missing; with {@link positions} every grid comes whole
   * @throws the signal's reason when it aborts: an early end would pass for the end of the tokens
   */
  async *read(
    first: number,
    count: number,
    signal: AbortSignal,
    atLeast = 1,
  ): AsyncGenerator<TokenRun, void, undefined> {
    const known = this.#known.subarray(first, first + count);
    const given = new Uint32Array(count);
    for (let missing = count * this.positions; missing > 0;) {
      const start = given.findIndex(
        (had, i) => had + Math.min(atLeast, Math.max(1, this.positions - had)) <= known[i]!,
      );
      signal.throwIfAborted();
      if (start === -1) {
        await this.#more(signal);
        continue;
      }
      const [from, to] = [given[start]!, known[start]!];
      let end = start + 1;
      while (end < count && given[end] === from && known[end] === to) end++;
      given.fill(to, start, end);
      missing -= (end - start) * (to - from);
      yield this.#run(first + start, first + end, from, to);
    }
  }

  #run(first: number, pastCandidate: number, position: number, pastPosition: number): TokenRun {
    const tokens: number[] = [];
    for (let at = position; at < pastPosition; at++) {
      for (let candidate = first; candidate < pastCandidate; candidate++) {
        tokens.push(this.#grids[candidate * this.positions + at]!);
      }
    }
    return { firstCandidate: first, position, positions: pastPosition - position, tokens };
  }

  #more(signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const wake = (): void => {
        signal.removeEventListener('abort', wake);
        this.#waiting.delete(wake);
        resolve();
      };
      signal.addEventListener('abort', wake);
      this.#waiting.add(wake);
    });
  }
}

function misfit(what: string): ClipGenError {
  return new ClipGenError('internal', `the sampler sent what was not asked for: ${what}`);
}
