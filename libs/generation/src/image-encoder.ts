import { encodeImage, normalizeRows, type ClipConfig } from '@clip-gen/clip';
import { GraphBuilder } from '@clip-gen/graph';
import { clipPixels, type RgbImage } from '@clip-gen/image';
import { Scope } from '@clip-gen/nn';
import type { Session } from '@clip-gen/runtime';
import type { Tensor } from '@clip-gen/tensor';
import { batches, splitRows } from './batches.ts';
import { createPartSession, type EngineOptions } from './model-part.ts';
import type { ClipPart } from './model-parts.ts';
import type { CallOptions, NetworkGraph } from './network.ts';

/** Normalised pixels float32 (B, 3, S, S) → unit embeddings float32 (B, E). */
export function imageEncoderGraph(config: ClipConfig): NetworkGraph {
  const graph = new GraphBuilder('clip-image');
  const scope = new Scope(graph);
  const side = config.vision.imageSize;
  const pixels = graph.input('pixels', 'float32', ['B', 3, side, side]);
  graph.output('embedding', normalizeRows(encodeImage(scope, config, pixels)));
  return { graph, scope };
}

/** Pictures to CLIP's shared space. */
export class ImageEncoder {
  private constructor(
    readonly part: ClipPart,
    private readonly session: Session,
  ) {}

  /** Loads the vision tower. The caller closes it. */
  static async open(part: ClipPart, engine: EngineOptions = {}): Promise<ImageEncoder> {
    return new ImageEncoder(part, await createPartSession(part, imageEncoderGraph(part.config).graph, engine));
  }

  /**
   * Unit embeddings float32 (E), one for each picture, in their order; the caller's. A picture of another size is scaled
   * (bicubic) so that its shorter side fits, and its middle square is taken. An embedding does not depend on what is
   * encoded with it.
   *
   * @throws invalid_argument for a malformed picture; cancelled
   */
  async encode(images: readonly RgbImage[], options: CallOptions = {}): Promise<Float32Array[]> {
    const embeddings: Float32Array[] = [];
    for (const batch of batches(images)) {
      const pixels = await clipPixels(batch, this.part.config.vision.imageSize);
      const { embedding } = await this.session.run({ pixels }, options);
      embeddings.push(...splitRows(embedding as Tensor<'float32'>));
    }
    return embeddings;
  }

  /** Frees the session once running calls are done. */
  close(): Promise<void> {
    return this.session.close();
  }
}
