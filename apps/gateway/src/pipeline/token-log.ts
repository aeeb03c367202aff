import { ClipGenError } from '@clip-gen/errors';
import type { TokenEvent } from '@clip-gen/contracts';

/** Tokens of neighbouring candidates at one position. */
export interface TokenRun {
  readonly firstCandidate: number;
  readonly position: number;
  readonly tokens: readonly number[];
}

/**
 * The tokens of one request as far as they are drawn: written by one sampler after the other until the grids are full,
 * read by any number of decoders, each from the beginning. That is what makes both replaceable on the way: a second
 * sampler draws the same tokens again and only new ones are taken; a second decoder reads again.
 *
 * Memory: 4 bytes a token for the grids, and the events.
 */
export class TokenLog {
  readonly #grids: Uint32Array;
  /** Positions known of each candidate. */
  readonly #known: Uint32Array;
  readonly #runs: TokenRun[] = [];
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
    if (position >= this.positions || firstCandidate + tokens.length > this.candidates || tokens.length === 0) {
      throw misfit(`tokens of candidates ${firstCandidate} to ${firstCandidate + tokens.length - 1} at ${position}`);
    }
    let from = tokens.length; // where the new tokens that follow each other begin
    tokens.forEach((token, i) => {
      const candidate = firstCandidate + i;
      const known = this.#known[candidate]!;
      const place = candidate * this.positions + position;
      if (position < known) {
        if (this.#grids[place] !== token) throw new ClipGenError('internal', 'replicas of the sampler disagree');
        this.#push(event, from, i);
        from = tokens.length;
        return;
      }
      if (position > known) throw misfit(`position ${position} of candidate ${candidate} after ${known} tokens`);
      if (token >= this.codebookSize) throw misfit(`code ${token} of a codebook of ${this.codebookSize}`);
      this.#grids[place] = token;
      this.#known[candidate] = position + 1;
      this.#drawn++;
      from = Math.min(from, i);
    });
    this.#push(event, from, tokens.length);
    for (const wake of this.#waiting) wake();
    this.#waiting.clear();
  }

  #push({ firstCandidate, position, tokens }: TokenEvent, from: number, to: number): void {
    if (from < to) this.#runs.push({ firstCandidate: firstCandidate + from, position, tokens: tokens.slice(from, to) });
  }

  /**
   * The tokens of candidates [first, first + count) from the beginning, then as they are drawn, until their grids are
   * full; ends early, without an error, when `signal` aborts.
   */
  async *read(first: number, count: number, signal: AbortSignal): AsyncGenerator<TokenRun, void, undefined> {
    let missing = count * this.positions;
    for (let next = 0; missing > 0;) {
      if (signal.aborted) return;
      const run = this.#runs[next];
      if (run === undefined) {
        await this.#more(signal);
        continue;
      }
      next++;
      const from = Math.max(0, first - run.firstCandidate);
      const to = Math.min(run.tokens.length, first + count - run.firstCandidate);
      if (from >= to) continue;
      missing -= to - from;
      const { position, tokens } = run;
      yield { firstCandidate: run.firstCandidate + from, position, tokens: tokens.slice(from, to) };
    }
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
