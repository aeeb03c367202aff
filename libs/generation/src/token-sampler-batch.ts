import type { CacheType, GptConfig } from '@clip-gen/gpt';
import type { Session } from '@clip-gen/runtime';
import { emptyTensor, type Tensor } from '@clip-gen/tensor';
import type { CallOptions } from './network.ts';
import { GrowingCache } from './token-sampler-cache.ts';

/** Rows whose grids are drawn side by side, one position after the other, by a session of the decode step. */
export class DecodingBatch {
  /** Unit embeddings (rows, E), row after row: to be written before the first step. */
  readonly conditions: Float32Array;
  /** The token drawn last of each row: to be written before every step but the first. */
  readonly tokens: Int32Array;
  readonly #cache: GrowingCache;
  readonly #logits: Tensor<'float32'>;
  readonly #positions: Tensor<'int32'>;
  readonly #total: Tensor<'int32'>;
  readonly #feeds: Record<string, Tensor>;
  readonly #into: Record<string, Tensor>;
  #position = 0;

  /** @param session of a decode step whose cache has room for `'P'` positions of this type; stays the caller's */
  constructor(
    private readonly session: Session,
    private readonly config: GptConfig,
    readonly rows: number,
    type: CacheType,
  ) {
    const condition = emptyTensor('float32', [rows, config.conditionSize]);
    const token = emptyTensor('int32', [rows]);
    this.conditions = condition.data;
    this.tokens = token.data;
    this.#positions = emptyTensor('int32', [rows]);
    this.#total = emptyTensor('int32', [1]);
    this.#logits = emptyTensor('float32', [rows, config.vocabularySize]);
    this.#feeds = { condition, token, position: this.#positions, total: this.#total };
    this.#into = { logits: this.#logits };
    this.#cache = new GrowingCache(config, rows, type);
  }

  /** Keys and values by `cacheNames`, (rows, H, room, D) each; positions that have been are filled. */
  get cache(): ReadonlyMap<string, Tensor> {
    return this.#cache.tensors;
  }

  /** Computes the next position: {@link logits} are then those of its tokens. At most T times. @throws cancelled */
  async step(options: CallOptions = {}): Promise<void> {
    const position = this.#position++;
    this.#positions.data.fill(position);
    this.#total.data[0] = position + 1;
    if (await this.#cache.reach(position + 1)) {
      for (const [name, data] of this.#cache.tensors)
        this.#feeds[`past.${name}`] = this.#into[`present.${name}`] = data;
    }
    await this.session.run(this.#feeds, { ...options, into: this.#into });
  }

  /** Logits (K) of a row after the last step; overwritten by the next. */
  logits(row: number): Float32Array {
    const { vocabularySize } = this.config;
    return this.#logits.data.subarray(row * vocabularySize, (row + 1) * vocabularySize);
  }
}
