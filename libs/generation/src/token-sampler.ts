import { invalidArgument } from '@clip-gen/errors';
import { cacheNames, cacheShape, decodeStepGraph, emptyCache } from '@clip-gen/gpt';
import type { Session } from '@clip-gen/runtime';
import { combineGuidance, Sampler, tokenUniform, validateSampling, type SamplingOptions } from '@clip-gen/sampling';
import { elementCount, emptyTensor, type Tensor } from '@clip-gen/tensor';
import { createPartSession, type EngineOptions } from './model-part.ts';
import type { GptPart } from './model-parts.ts';
import type { CallOptions } from './network.ts';

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

export const MAX_CANDIDATES = 1 << 16;
/** Rows of one step at most: past this a step costs as much more as it has rows more. */
const MAX_ROWS = 64;
/** Bytes of keys and values at most, unless one candidate needs more. */
const MAX_CACHE_BYTES = 2 ** 30;

/**
 * Embeddings to token grids: the transformer, one token at a time for many candidates at once, with the keys and values
 * of earlier positions in a cache that each step extends in place.
 */
export class TokenSampler {
  private constructor(
    readonly part: GptPart,
    private readonly session: Session,
  ) {}

  /** Loads the transformer. The caller closes it. */
  static async open(part: GptPart, engine: EngineOptions = {}): Promise<TokenSampler> {
    return new TokenSampler(part, await createPartSession(part, decodeStepGraph(part.config).graph, engine));
  }

  /**
   * Draws the tokens of all candidates, position by position; ends after the last position. A candidate's tokens depend
   * on the embedding, the options, the seed and its number alone. Work goes on only while events are taken; leaving the
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
    const { config } = this.part;
    const { seed, candidates, firstCandidate = 0 } = request;
    const sampling = validateSampling(request, config.vocabularySize);
    checkInteger('seed', seed, 0, Number.MAX_SAFE_INTEGER);
    checkInteger('candidates', candidates, 1, MAX_CANDIDATES);
    checkInteger('firstCandidate', firstCandidate, 0, 2 ** 32 - MAX_CANDIDATES);
    checkEmbedding(embedding, config.conditionSize);
    const rowsEach = sampling.guidance === 1 ? 1 : 2;
    const rowBytes = 4 * elementCount(cacheShape(config, 1)) * cacheNames(config).length;
    const rows = Math.max(1, Math.min(MAX_ROWS, Math.floor(MAX_CACHE_BYTES / rowBytes)));
    const together = Math.max(1, Math.floor(rows / rowsEach));
    for (let done = 0; done < candidates; done += together) {
      const batch = { seed, first: firstCandidate + done, count: Math.min(together, candidates - done), sampling };
      yield* this.#sampleBatch(embedding, batch, options);
    }
  }

  async *#sampleBatch(embedding: Float32Array, batch: Batch, options: CallOptions): AsyncGenerator<TokenEvent> {
    const { config } = this.part;
    const { seed, first, count, sampling } = batch;
    const { guidance } = sampling;
    const size = config.vocabularySize;
    const guided = guidance !== 1;
    const rows = guided ? 2 * count : count; // with the embedding, then without
    const condition = emptyTensor('float32', [rows, config.conditionSize]);
    for (let i = 0; i < count; i++) condition.data.set(embedding, i * embedding.length);
    const token = emptyTensor('int32', [rows]);
    const positions = emptyTensor('int32', [rows]);
    const total = emptyTensor('int32', [1]);
    const logits = emptyTensor('float32', [rows, size]);
    const feeds: Record<string, Tensor> = { condition, token, position: positions, total };
    const into: Record<string, Tensor> = { logits };
    for (const [name, cache] of emptyCache(config, rows)) {
      feeds[`past.${name}`] = cache;
      into[`present.${name}`] = cache;
    }
    const row = (i: number): Float32Array => logits.data.subarray(i * size, (i + 1) * size);
    const sampler = new Sampler(size);
    for (let position = 0; position < config.tokens; position++) {
      positions.data.fill(position);
      total.data[0] = position + 1;
      await this.session.run(feeds, { ...options, into });
      for (let i = 0; i < count; i++) {
        const choice = guided ? combineGuidance(row(i), row(count + i), guidance, row(i)) : row(i);
        const drawn = sampler.sampleRow(choice, sampling, tokenUniform(seed, first + i, position));
        token.data[i] = drawn;
        if (guided) token.data[count + i] = drawn;
        yield { candidate: first + i, position, token: drawn };
      }
    }
  }

  /** Frees the session once running calls are done. */
  close(): Promise<void> {
    return this.session.close();
  }
}

interface Batch {
  readonly seed: number;
  readonly first: number;
  readonly count: number;
  readonly sampling: ReturnType<typeof validateSampling>;
}

function checkInteger(name: string, value: number, least: number, most: number): void {
  if (!Number.isSafeInteger(value) || value < least || value > most) {
    const bound = most === Number.MAX_SAFE_INTEGER ? `[${least}, 2^53)` : `[${least}, ${most}]`;
    throw invalidArgument(name, `an integer in ${bound}`, value);
  }
}

function checkEmbedding(embedding: Float32Array, width: number): void {
  if (embedding.length !== width) throw invalidArgument('embedding', `of ${width} numbers`, embedding.length);
  if (!embedding.every((value) => Number.isFinite(value))) {
    throw invalidArgument(
      'embedding',
      'finite',
      embedding.find((value) => !Number.isFinite(value)),
    );
  }
}
