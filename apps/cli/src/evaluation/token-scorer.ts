import { predictTokens, type GptConfig } from '@clip-gen/gpt';
import { createPartSession, type CallOptions, type EngineOptions, type GptPart } from '@clip-gen/generation';
import { GraphBuilder } from '@clip-gen/graph';
import { tokenCrossEntropy } from '@clip-gen/losses';
import { Scope } from '@clip-gen/nn';
import type { Session } from '@clip-gen/runtime';
import { tensor } from '@clip-gen/tensor';

/** The transformer's cross-entropy for given pictures, all positions at once. */
export class TokenScorer {
  private constructor(
    private readonly config: GptConfig,
    private readonly session: Session,
  ) {}

  /** Loads the transformer. The caller closes it. */
  static async open(part: GptPart, engine: EngineOptions = {}): Promise<TokenScorer> {
    const { config } = part;
    const graph = new GraphBuilder('gpt-cross-entropy');
    const condition = graph.input('condition', 'float32', [1, config.conditionSize]);
    const previous = graph.input('previous', 'int64', [1, config.tokens - 1]);
    const target = graph.input('target', 'int64', [1, config.tokens]);
    const logits = predictTokens(new Scope(graph), config, condition, previous);
    graph.output('loss', tokenCrossEntropy(logits, target));
    return new TokenScorer(config, await createPartSession(part, graph, engine));
  }

  /**
   * Mean cross-entropy of a token grid given the picture's embedding, in nats a token.
   *
   * @param embedding float32 (E), of unit length
   * @param tokens T codes
   */
  async score(embedding: Float32Array, tokens: Int32Array, options: CallOptions = {}): Promise<number> {
    const target = BigInt64Array.from(tokens, (token) => BigInt(token));
    const { loss } = await this.session.run(
      {
        condition: tensor('float32', [1, this.config.conditionSize], embedding),
        previous: tensor('int64', [1, this.config.tokens - 1], target.slice(0, -1)),
        target: tensor('int64', [1, this.config.tokens], target),
      },
      options,
    );
    return Number(loss!.data[0]);
  }

  close(): Promise<void> {
    return this.session.close();
  }
}
