import { join } from 'node:path';
import { invalidArgument } from '@clip-gen/errors';
import { decodeStepGraph, type CacheType, type GptConfig } from '@clip-gen/gpt';
import type { Session } from '@clip-gen/runtime';
import {
  combineGuidance,
  Sampler,
  tokenUniform,
  validateSampling,
  type SamplingOptions,
  type ValidSamplingOptions,
} from '@clip-gen/sampling';
import { openCacheSteps } from './cache-steps.ts';
import { createPartSession, type EngineOptions } from './model-part.ts';
import type { GptPart } from './model-parts.ts';
import type { CallOptions } from './network.ts';
import { SUPPORT_FILE, SupportMemory } from './support-memory.ts';
import { DecodingBatch } from './token-sampler-batch.ts';
import { cacheBytes } from './token-sampler-cache.ts';

/** Which token grids to draw, and how. */
export interface TokenRequest extends SamplingOptions {
  /** Integer in [0, 2^53): with the candidate's number it decides every draw. */
  readonly seed: number;
  /** Number of grids, in [1, 2^16]. */
  readonly candidates: number;
  /** Number of the first of them; 0 by default. */
  readonly firstCandidate?: number;
}

/** One token, as soon as it is drawn. */
export interface TokenEvent {
  /** Number of the grid, from `firstCandidate` on. */
  readonly candidate: number;
  /** Its place in the grid, row by row, from 0. */
  readonly position: number;
  /** The code, in [0, K). */
  readonly token: number;
}

/** Tokens that were drawn together: one position of neighbouring candidates of one condition. */
export interface TokenStep {
  /** Which of the conditions, from 0. */
  readonly condition: number;
  /** Number of the candidate whose token stands first. */
  readonly firstCandidate: number;
  /** Place in the grid, row by row, from 0. */
  readonly position: number;
  /** Codes in [0, K), one a candidate; the receiver's. */
  readonly tokens: Int32Array;
}

/** A request whose every value is within bounds and set. */
export interface ValidTokenRequest {
  readonly seed: number;
  readonly candidates: number;
  readonly firstCandidate: number;
  readonly sampling: ValidSamplingOptions;
}

/** Most candidates of one call of a `TokenSampler`. */
export const MAX_CANDIDATES = 1 << 16;
/** Rows of one step at most: past this a step costs as much more as it has rows more. */
const MAX_ROWS = 64;
/** Bytes of keys and values at most, unless one candidate needs more: 42 rows of the released size in float32. */
const MAX_CACHE_BYTES = 2 ** 31;
/**
 * A step is some hundred operators of tens of microseconds, and waking a sleeping thread for each costs a third more in
 * all. Spinning no longer than this, the threads sleep as soon as the step has ended.
 */
const SPIN_US = 50;

/**
 * Embeddings to token grids: the transformer, one token at a time for many candidates at once, with the keys and values
 * of earlier positions in a cache that each step extends in place.
 */
export class TokenSampler {
  private constructor(
    readonly part: GptPart,
    private readonly session: Session,
    /** Where text embeddings are carried to before they condition the transformer. */
    private readonly support: SupportMemory | undefined,
    /** How keys and values are kept. */
    readonly cacheType: CacheType,
    /** Works on one row between two turns of the event loop, so all requests share it. */
    private readonly sampler: Sampler,
  ) {}

  /**
   * Loads the transformer and, where they are beside it, the support memory and the steps in which keys and values are kept
   * in 8 bits (on a CPU). The caller closes it.
   *
   * @throws data_corrupt for a damaged file
   */
  static async open(part: GptPart, engine: EngineOptions = {}): Promise<TokenSampler> {
    const { config, folder } = part;
    const support = await SupportMemory.open(join(folder, SUPPORT_FILE), config.conditionSize);
    const onCpu = engine.provider === undefined || engine.provider === 'cpu';
    const cacheSteps = onCpu ? await openCacheSteps(folder, config) : undefined;
    const sampler = new Sampler(config.vocabularySize);
    const { graph } = decodeStepGraph(config, { room: 'P', cacheSteps });
    const session = await createPartSession(part, graph, { spin: SPIN_US, ...engine });
    return new TokenSampler(part, session, support, cacheSteps ? 'int8' : 'float32', sampler);
  }

  /**
   * The request with defaults filled in, before any work.
   *
   * @param conditions unit embeddings float32 (E), one or more
   * @throws invalid_argument for an embedding of another width or an option out of bounds
   */
  validate(conditions: readonly Float32Array[], request: TokenRequest): ValidTokenRequest {
    const { config } = this.part;
    const { seed, candidates, firstCandidate = 0 } = request;
    const sampling = validateSampling(request, config.vocabularySize);
    checkInteger('seed', seed, 0, Number.MAX_SAFE_INTEGER);
    checkInteger('candidates', candidates, 1, MAX_CANDIDATES);
    checkInteger('firstCandidate', firstCandidate, 0, 2 ** 32 - MAX_CANDIDATES);
    if (conditions.length === 0) throw invalidArgument('conditions', 'at least one embedding', 'none');
    conditions.forEach((condition, i) => {
      checkEmbedding(conditions.length === 1 ? 'embedding' : `conditions[${i}]`, condition, config.conditionSize);
    });
    return { seed, candidates, firstCandidate, sampling };
  }

  /**
   * Draws the tokens of all candidates, position by position; ends after the last position. A candidate's tokens depend
   * on the embedding, the options, the seed and its number alone. With a support memory the embedding is carried among the
   * image embeddings first ({@link SupportMemory}). Work goes on only while events are taken; leaving the
   * loop stops it.
   *
   * Guidance other than 1 asks the transformer twice, with the embedding and with none (zeros), and doubles the cost.
   *
   * @param embedding float32 (E), of unit length; not changed
   * @throws invalid_argument for an embedding of another width or an option out of bounds; cancelled
   */
  async *sample(
    embedding: Float32Array,
    request: TokenRequest,
    options: CallOptions = {},
  ): AsyncGenerator<TokenEvent, void, undefined> {
    for await (const steps of this.sampleSteps([embedding], request, options)) {
      for (const { firstCandidate, position, tokens } of steps) {
        for (let i = 0; i < tokens.length; i++) yield { candidate: firstCandidate + i, position, token: tokens[i]! };
      }
    }
  }

  /**
   * {@link sample} for several conditions at once, as many rows in a step as fit: each turn yields what one step of the
   * transformer drew, one {@link TokenStep} for each condition with rows in it. Condition _i_ gets the tokens that it gets
   * alone.
   *
   * @param conditions float32 (E) each, of unit length; not changed
   * @param request `candidates` grids are drawn for each condition
   * @throws what {@link validate} throws; cancelled
   */
  async *sampleSteps(
    conditions: readonly Float32Array[],
    request: TokenRequest,
    options: CallOptions = {},
  ): AsyncGenerator<readonly TokenStep[], void, undefined> {
    const valid = this.validate(conditions, request);
    const { candidates, firstCandidate } = valid;
    const places: Float32Array[] = [];
    for (const each of conditions) places.push(this.support ? await this.support.project(each, options.signal) : each);
    const all = conditions.length * candidates;
    const together = this.candidatesTogether(all, valid.sampling.guidance === 1 ? 1 : 2);
    for (let done = 0; done < all; done += together) {
      const batch = Array.from({ length: Math.min(together, all - done) }, (_, i) => ({
        condition: Math.floor((done + i) / candidates),
        candidate: firstCandidate + ((done + i) % candidates),
      }));
      yield* this.#sampleBatch(places, batch, valid, options);
    }
  }

  async *#sampleBatch(
    conditions: readonly Float32Array[],
    batch: readonly BatchRow[],
    { seed, sampling }: ValidTokenRequest,
    options: CallOptions,
  ): AsyncGenerator<readonly TokenStep[]> {
    const { config } = this.part;
    const count = batch.length;
    const { guidance } = sampling;
    const guided = guidance !== 1;
    const used = guided ? 2 * count : count; // with the embedding, then without
    // The 8-bit product takes rows in pairs and adds up the last of an odd number in another order: an idle row beside it
    // lets a candidate have the same logits, bit for bit, in every batch.
    const rows = this.part.quantization?.bits === 8 ? used + (used % 2) : used;
    const decoding = new DecodingBatch(this.session, config, rows, this.cacheType);
    batch.forEach((row, i) => decoding.conditions.set(conditions[row.condition]!, i * config.conditionSize));
    const groups = groupRows(batch);
    for (let position = 0; position < config.tokens; position++) {
      await decoding.step(options);
      for (let i = 0; i < count; i++) {
        const own = decoding.logits(i);
        const choice = guided ? combineGuidance(own, decoding.logits(count + i), guidance, own) : own;
        const drawn = this.sampler.sampleRow(choice, sampling, tokenUniform(seed, batch[i]!.candidate, position));
        decoding.tokens[i] = drawn;
        if (guided) decoding.tokens[count + i] = drawn;
      }
      yield groups.map(({ condition, firstCandidate, from, to }) => {
        return { condition, firstCandidate, position, tokens: decoding.tokens.slice(from, to) };
      });
    }
  }

  /** Candidates of one step when `all` are to be drawn; 2 rows each with guidance. */
  candidatesTogether(all: number, rowsEach = 1): number {
    return candidatesTogether(this.part.config, all, rowsEach, this.cacheType);
  }

  /** Frees the session once running calls are done. */
  close(): Promise<void> {
    return this.session.close();
  }
}

/**
 * Candidates of one step when `all` are to be drawn: as many as fit, in batches of nearly the same size, for a batch of
 * one row reads as many weights as a full one.
 *
 * @param rowsEach rows of a candidate: 2 with guidance
 * @param type how keys and values are kept
 */
export function candidatesTogether(config: GptConfig, all: number, rowsEach: number, type: CacheType): number {
  const rows = Math.max(1, Math.min(MAX_ROWS, Math.floor(MAX_CACHE_BYTES / cacheBytes(config, type))));
  const most = Math.max(1, Math.floor(rows / rowsEach));
  return Math.ceil(all / Math.ceil(all / most));
}

interface BatchRow {
  readonly condition: number;
  readonly candidate: number;
}

/** Neighbouring rows of one condition, from row `from` to before row `to`. */
interface RowGroup {
  readonly condition: number;
  readonly firstCandidate: number;
  readonly from: number;
  readonly to: number;
}

function groupRows(batch: readonly BatchRow[]): RowGroup[] {
  const starts = batch.flatMap((row, i) => (i === 0 || batch[i - 1]!.condition !== row.condition ? [i] : []));
  return starts.map((from, g) => {
    const { condition, candidate } = batch[from]!;
    return { condition, firstCandidate: candidate, from, to: starts[g + 1] ?? batch.length };
  });
}

function checkInteger(name: string, value: number, least: number, most: number): void {
  if (!Number.isSafeInteger(value) || value < least || value > most) {
    const bound = most === Number.MAX_SAFE_INTEGER ? `[${least}, 2^53)` : `[${least}, ${most}]`;
    throw invalidArgument(name, `an integer in ${bound}`, value);
  }
}

function checkEmbedding(name: string, embedding: Float32Array, width: number): void {
  if (embedding.length !== width) throw invalidArgument(name, `of ${width} numbers`, embedding.length);
  const index = embedding.findIndex((value) => !Number.isFinite(value));
  if (index >= 0) throw invalidArgument(name, 'finite', embedding[index]);
}
