import { tokenBlock, type DecodeOptions, type TokenBlock, type TokenEvent } from '@clip-gen/contracts';
import { ClipGenError, invalidArgument } from '@clip-gen/errors';
import { partialPositions } from '@clip-gen/generation';
import type { DecoderDescription } from './token-grid-decoder.ts';

/** Grids of one call at most, by the contract. */
export const MAX_GRIDS = 256;
const MAX_CONDITIONS = 16;
const MAX_PARTIAL_IMAGES = 16;

/** A picture that can be made now. */
export interface DueGrid {
  readonly condition: number;
  readonly candidate: number;
  /** Absent for a full grid. */
  readonly partial?: { readonly index: number; readonly positions: number };
  /** Every position set: those yet to come hold the last known code. The receiver's. */
  readonly tokens: Int32Array;
}

interface Grid {
  /** Empty before the first token and after the last. */
  tokens: Int32Array;
  /** Positions that are known. */
  known: number;
}

/**
 * Puts a call's token events together to grids and tells when which picture is due. A grid takes memory from its first
 * token to its last.
 */
export class GridAssembler {
  readonly #description: DecoderDescription;
  readonly #candidates: number;
  readonly #first: number;
  readonly #conditions: number;
  readonly #grids: Grid[];
  /** Known positions at which a partial picture is due, rising. */
  readonly #partialAt: readonly number[];
  #missing: number;

  /** @throws invalid_argument for options out of bounds */
  constructor(options: DecodeOptions, description: DecoderDescription, maxGrids = MAX_GRIDS) {
    this.#description = description;
    this.#candidates = options.candidates || 1;
    this.#conditions = options.conditions || 1;
    this.#first = options.firstCandidate;
    const { partialImages } = options;
    if (this.#candidates > maxGrids) throw invalidArgument('candidates', `in [1, ${maxGrids}]`, this.#candidates);
    if (this.#conditions > MAX_CONDITIONS) {
      throw invalidArgument('conditions', `in [1, ${MAX_CONDITIONS}]`, this.#conditions);
    }
    const grids = this.#candidates * this.#conditions;
    if (grids > maxGrids) throw invalidArgument('conditions · candidates', `at most ${maxGrids}`, grids);
    if (this.#first >= 2 ** 31) throw invalidArgument('firstCandidate', 'in [0, 2^31)', this.#first);
    if (partialImages > MAX_PARTIAL_IMAGES) {
      throw invalidArgument('partialImages', `in [0, ${MAX_PARTIAL_IMAGES}]`, partialImages);
    }
    this.#partialAt = partialPositions(partialImages, this.#length);
    this.#grids = Array.from({ length: grids }, () => ({ tokens: new Int32Array(), known: 0 }));
    this.#missing = grids;
  }

  /** Grids that are not full. */
  get missing(): number {
    return this.#missing;
  }

  get #length(): number {
    return this.#description.grid.height * this.#description.grid.width;
  }

  /**
   * Takes an event in whole or not at all.
   *
   * @returns the pictures that it makes due, by rising position and candidate
   * @throws invalid_argument for tokens out of range or out of order
   */
  take(event: TokenEvent): DueGrid[] {
    const { condition, firstCandidate, tokens } = event;
    const block = tokenBlock(event);
    this.#check(event, block);
    const due: DueGrid[] = [];
    tokens.forEach((token, i) => {
      const position = event.position + Math.floor(i / block.candidates);
      const candidate = firstCandidate + (i % block.candidates);
      const grid = this.#grids[condition * this.#candidates + candidate - this.#first]!;
      if (position === 0) grid.tokens = new Int32Array(this.#length);
      grid.tokens[position] = token;
      grid.known = position + 1;
      if (grid.known === this.#length) {
        due.push({ condition, candidate, tokens: grid.tokens });
        grid.tokens = new Int32Array();
        this.#missing--;
        return;
      }
      const index = this.#partialAt.indexOf(grid.known);
      if (index < 0) return;
      const partial = { index, positions: grid.known };
      due.push({ condition, candidate, partial, tokens: grid.tokens.slice().fill(token, grid.known) });
    });
    return due;
  }

  /** @throws invalid_argument when the stream is over and a grid is not full */
  finish(): void {
    if (this.#missing === 0) return;
    const at = this.#grids.findIndex(({ known }) => known < this.#length);
    const where = `condition ${Math.floor(at / this.#candidates)}, candidate ${this.#first + (at % this.#candidates)}`;
    throw new ClipGenError(
      'invalid_argument',
      `tokens must fill every grid before the stream ends; ${this.#missing} of ${this.#grids.length} are not full, ` +
        `the first (${where}) has ${this.#grids[at]!.known} of ${this.#length}`,
    );
  }

  #check({ condition, firstCandidate, position, tokens }: TokenEvent, { positions, candidates }: TokenBlock): void {
    const { codebookSize } = this.#description;
    if (condition >= this.#conditions) throw invalidArgument('condition', `in [0, ${this.#conditions})`, condition);
    const past = this.#first + this.#candidates;
    if (firstCandidate < this.#first || firstCandidate + candidates > past) {
      const got = `${firstCandidate} to ${firstCandidate + candidates - 1}`;
      throw invalidArgument('candidates of an event', `in [${this.#first}, ${past})`, got);
    }
    if (position + positions > this.#length) {
      const got = positions === 1 ? position : `${position} to ${position + positions - 1}`;
      throw invalidArgument('position', `in [0, ${this.#length})`, got);
    }
    const wrong = tokens.findIndex((token) => token >= codebookSize);
    if (wrong >= 0) throw invalidArgument(`tokens[${wrong}]`, `in [0, ${codebookSize})`, tokens[wrong]);
    for (let candidate = firstCandidate; candidate < firstCandidate + candidates; candidate++) {
      const { known } = this.#grids[condition * this.#candidates + candidate - this.#first]!;
      if (known === position) continue;
      const next = known === this.#length ? 'absent: its grid is full' : `${known}, its next`;
      throw invalidArgument(`position of condition ${condition}, candidate ${candidate}`, next, position);
    }
  }
}
