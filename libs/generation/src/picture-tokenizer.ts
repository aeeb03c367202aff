import { invalidArgument } from '@clip-gen/errors';
import { GraphBuilder } from '@clip-gen/graph';
import { imagesToTensor, type RgbImage } from '@clip-gen/image';
import { Scope } from '@clip-gen/nn';
import type { Session } from '@clip-gen/runtime';
import { encodeLatents, latentRows, nearestCodes, type VqganConfig } from '@clip-gen/vqgan';
import { createPartSession, type EngineOptions } from './model-part.ts';
import type { VqganPart } from './model-parts.ts';
import type { CallOptions, NetworkGraph } from './network.ts';

/** Pixels float32 in [−1, 1] (B, 3, S, S) → tokens int64 (B·g·g). */
export function pictureTokenizerGraph(config: VqganConfig): NetworkGraph {
  const graph = new GraphBuilder('vqgan-encoder');
  const scope = new Scope(graph);
  const pixels = graph.input('pixels', 'float32', ['B', 3, config.imageSize, config.imageSize]);
  graph.output('tokens', nearestCodes(scope, config, latentRows(encodeLatents(scope, config, pixels))));
  return { graph, scope };
}

/** Pictures to token grids: the way back from a {@link PictureDecoder}. */
export class PictureTokenizer {
  private constructor(
    readonly part: VqganPart,
    private readonly session: Session,
  ) {}

  /** Loads the encoder. The caller closes it. */
  static async open(part: VqganPart, engine: EngineOptions = {}): Promise<PictureTokenizer> {
    return new PictureTokenizer(part, await createPartSession(part, pictureTokenizerGraph(part.config).graph, engine));
  }

  /**
   * The tokens of a picture, g·g codes in [0, K), row by row; the caller's.
   *
   * @throws invalid_argument unless the picture is S × S; cancelled
   */
  async tokenize(image: RgbImage, options: CallOptions = {}): Promise<Int32Array> {
    const { imageSize } = this.part.config;
    if (image.width !== imageSize || image.height !== imageSize) {
      throw invalidArgument('image', `${imageSize}x${imageSize} pixels`, `${image.width}x${image.height}`);
    }
    const { tokens } = await this.session.run({ pixels: imagesToTensor([image]) }, options);
    return Int32Array.from(tokens!.data as BigInt64Array, Number);
  }

  /** Frees the session once running calls are done. */
  close(): Promise<void> {
    return this.session.close();
  }
}
