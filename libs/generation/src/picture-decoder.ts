import { invalidArgument } from '@clip-gen/errors';
import { GraphBuilder } from '@clip-gen/graph';
import { tensorToImages, type RgbImage } from '@clip-gen/image';
import { Scope } from '@clip-gen/nn';
import type { Session } from '@clip-gen/runtime';
import { tensor, type Tensor } from '@clip-gen/tensor';
import { decodeLatents, gridSide, lookUp, type VqganConfig } from '@clip-gen/vqgan';
import { createPartSession, type EngineOptions } from './model-part.ts';
import type { VqganPart } from './model-parts.ts';
import type { CallOptions, NetworkGraph } from './network.ts';

/** Tokens int64 (B, g·g) → pixels float32 (B, 3, S, S), about [−1, 1]. */
export function pictureDecoderGraph(config: VqganConfig): NetworkGraph {
  const graph = new GraphBuilder('vqgan-decoder');
  const scope = new Scope(graph);
  const side = gridSide(config);
  const tokens = graph.input('tokens', 'int64', ['B', side * side]);
  graph.output('pixels', decodeLatents(scope, config, lookUp(scope, config, tokens, side)));
  return { graph, scope };
}

/** Token grids to pictures. */
export class PictureDecoder {
  private constructor(
    readonly part: VqganPart,
    private readonly session: Session,
  ) {}

  /** Loads the decoder. The caller closes it. */
  static async open(part: VqganPart, engine: EngineOptions = {}): Promise<PictureDecoder> {
    return new PictureDecoder(part, await createPartSession(part, pictureDecoderGraph(part.config).graph, engine));
  }

  /** Tokens of a picture, g·g. */
  get tokens(): number {
    return gridSide(this.part.config) ** 2;
  }

  /**
   * The picture of a token grid, S × S, clamped to 8 bits.
   *
   * @param tokens g·g codes in [0, K), row by row
   * @throws invalid_argument for another number of tokens or one out of range; cancelled
   */
  async decode(tokens: ArrayLike<number>, options: CallOptions = {}): Promise<RgbImage> {
    const { codebookSize } = this.part.config;
    if (tokens.length !== this.tokens) throw invalidArgument('tokens', `${this.tokens} codes`, tokens.length);
    const ids = new BigInt64Array(this.tokens);
    for (let i = 0; i < ids.length; i++) {
      const token = tokens[i]!;
      if (!Number.isInteger(token) || token < 0 || token >= codebookSize) {
        throw invalidArgument(`tokens[${i}]`, `an integer in [0, ${codebookSize})`, token);
      }
      ids[i] = BigInt(token);
    }
    const { pixels } = await this.session.run({ tokens: tensor('int64', [1, this.tokens], ids) }, options);
    return tensorToImages(pixels as Tensor<'float32'>)[0]!;
  }

  /** Frees the session once running calls are done. */
  close(): Promise<void> {
    return this.session.close();
  }
}
