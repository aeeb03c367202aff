import { encodeText, normalizeRows, type ClipConfig } from '@clip-gen/clip';
import { invalidArgument } from '@clip-gen/errors';
import { GraphBuilder } from '@clip-gen/graph';
import { Scope } from '@clip-gen/nn';
import type { Session } from '@clip-gen/runtime';
import { tensor } from '@clip-gen/tensor';
import { MAX_TEXT_LENGTH } from '@clip-gen/tokenizer';
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
 * @returns int32 (context), the caller's
 * @throws invalid_argument for an empty prompt or one of too many tokens
 */
export function tokenizePrompt({ tokenizer, config }: ClipPart, prompt: string): Int32Array {
  const { contextLength } = config.text;
  const text = prompt.trim();
  if (text.length > MAX_TEXT_LENGTH) {
    throw invalidArgument('prompt', `at most ${MAX_TEXT_LENGTH} characters long`, text.length);
  }
  const count = tokenizer.encode(text).length;
  if (count === 0) throw invalidArgument('prompt', 'a description in words', prompt);
  const most = contextLength - 2;
  if (count > most) throw invalidArgument('prompt', `at most ${most} tokens long (a word is one or a few)`, count);
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
   * Unit embeddings float32 (E), one for each prompt, in their order; the caller's.
   *
   * @throws what {@link tokenizePrompt} throws; cancelled
   */
  async encode(prompts: readonly string[], options: CallOptions = {}): Promise<Float32Array[]> {
    const rows = prompts.map((prompt) => tokenizePrompt(this.part, prompt));
    const embeddings: Float32Array[] = [];
    const { contextLength } = this.part.config.text;
    for (const row of rows) {
      const tokens = tensor(
        'int64',
        [1, contextLength],
        BigInt64Array.from(row, (id) => BigInt(id)),
      );
      const { embedding } = await this.session.run({ tokens }, options);
      embeddings.push(embedding!.data as Float32Array);
    }
    return embeddings;
  }

  /** Frees the session once running calls are done. */
  close(): Promise<void> {
    return this.session.close();
  }
}
