import { encodeText, normalizeRows, type ClipConfig } from '@clip-gen/clip';
import { invalidArgument } from '@clip-gen/errors';
import { GraphBuilder } from '@clip-gen/graph';
import { Scope } from '@clip-gen/nn';
import type { Session } from '@clip-gen/runtime';
import { tensor, type Tensor } from '@clip-gen/tensor';
import { MAX_TEXT_LENGTH } from '@clip-gen/tokenizer';
import { batches, splitRows } from './batches.ts';
import { createPartSession, type EngineOptions } from './model-part.ts';
import type { ClipPart } from './model-parts.ts';
import type { CallOptions, NetworkGraph } from './network.ts';

/** Token ids int64 (B, context) → unit embeddings float32 (B, E). */
export function textEncoderGraph(config: ClipConfig): NetworkGraph {
  const graph = new GraphBuilder('clip-text');
  const scope = new Scope(graph);
  const tokens = graph.input('tokens', 'int64', ['B', config.text.contextLength]);
  graph.output('embedding', normalizeRows(encodeText(scope, config, tokens)));
  return { graph, scope };
}

/**
 * What the text tower reads: start of text, the prompt's tokens, end of text, zeros.
 *
 * @param name what errors call the prompt
 * @returns int32 (context), the caller's
 * @throws invalid_argument for an empty prompt or one of too many tokens
 */
export function tokenizePrompt({ tokenizer, config }: ClipPart, prompt: string, name = 'prompt'): Int32Array {
  const { contextLength } = config.text;
  const text = prompt.trim();
  if (text.length > MAX_TEXT_LENGTH) {
    throw invalidArgument(name, `at most ${MAX_TEXT_LENGTH} characters long`, text.length);
  }
  const count = tokenizer.encode(text).length;
  if (count === 0) throw invalidArgument(name, 'a description in words', prompt);
  const most = contextLength - 2;
  if (count > most) throw invalidArgument(name, `at most ${most} tokens long (a word is one or a few)`, count);
  return tokenizer.tokenize(text, { contextLength });
}

/** Prompts to CLIP's shared space. */
export class TextEncoder {
  private constructor(
    readonly part: ClipPart,
    private readonly session: Session,
  ) {}

  /** Loads the text tower. The caller closes it. */
  static async open(part: ClipPart, engine: EngineOptions = {}): Promise<TextEncoder> {
    return new TextEncoder(part, await createPartSession(part, textEncoderGraph(part.config).graph, engine));
  }

  /**
   * Unit embeddings float32 (E), one for each prompt, in their order; the caller's. An embedding does not depend on what
   * is encoded with it.
   *
   * @throws what {@link tokenizePrompt} throws; cancelled
   */
  encode(prompts: readonly string[], options: CallOptions = {}): Promise<Float32Array[]> {
    return this.encodeTokens(
      prompts.map((prompt) => tokenizePrompt(this.part, prompt)),
      options,
    );
  }

  /** {@link encode} for what {@link tokenizePrompt} gave of each prompt. @throws cancelled */
  async encodeTokens(rows: readonly Int32Array[], options: CallOptions = {}): Promise<Float32Array[]> {
    const embeddings: Float32Array[] = [];
    const { contextLength } = this.part.config.text;
    for (const batch of batches(rows)) {
      const ids = new BigInt64Array(batch.length * contextLength);
      batch.forEach((row, i) => row.forEach((id, j) => (ids[i * contextLength + j] = BigInt(id))));
      const tokens = tensor('int64', [batch.length, contextLength], ids);
      const { embedding } = await this.session.run({ tokens }, options);
      embeddings.push(...splitRows(embedding as Tensor<'float32'>));
    }
    return embeddings;
  }

  /** Frees the session once running calls are done. */
  close(): Promise<void> {
    return this.session.close();
  }
}
