import { GraphBuilder } from '@clip-gen/graph';
import { tensorToImages, type RgbImage } from '@clip-gen/image';
import { blockedLayers, Scope } from '@clip-gen/nn';
import { nativeChannelBlock, type Session } from '@clip-gen/runtime';
import type { Tensor } from '@clip-gen/tensor';
import { decodeLatents, decodesInBlocks, gridSide, lookUp, type VqganConfig } from '@clip-gen/vqgan';
import { batches } from './batches.ts';
import { checkGrid, gridTensor, type GridDecoder } from './grid-decoder.ts';
import { createPartSession, type EngineOptions } from './model-part.ts';
import type { VqganPart } from './model-parts.ts';
import type { CallOptions, NetworkGraph } from './network.ts';
import { createPreparedSession } from './prepared-session.ts';

/**
 * Tokens int64 (B, g·g) → pixels float32 (B, 3, S, S), about [−1, 1].
 *
 * @param block channels of a block in the CPU's convolutions, which must divide all channel counts: for one picture in a
 * run, B is 1. Without it standard operators alone
 */
export function pictureDecoderGraph(config: VqganConfig, block?: 8 | 16): NetworkGraph {
  const graph = new GraphBuilder('vqgan-decoder');
  const scope = new Scope(graph);
  const side = gridSide(config);
  const tokens = graph.input('tokens', 'int64', [block ? 1 : 'B', side * side]);
  const codes = lookUp(scope, config, tokens, side);
  const pixels = block
    ? decodeLatents(scope, config, codes, blockedLayers(block))
    : decodeLatents(scope, config, codes);
  graph.output('pixels', pixels);
  return { graph, scope };
}

/** Of the pictures of one run. More brings nothing: a map of 256 × 256 keeps every core busy. */
const MAX_BATCH_PIXELS = 2 ** 16;

function picturesOfARun({ imageSize }: VqganConfig): number {
  return Math.max(1, Math.floor(MAX_BATCH_PIXELS / imageSize ** 2));
}

/** Token grids to pictures by the VQGAN's decoder. */
export class PictureDecoder implements GridDecoder {
  private constructor(
    readonly part: VqganPart,
    private readonly session: Session,
  ) {}

  /** Loads the decoder. The caller closes it. */
  static async open(part: VqganPart, engine: EngineOptions = {}): Promise<PictureDecoder> {
    const block = await channelBlock(part.config, engine);
    const { graph } = pictureDecoderGraph(part.config, block);
    const create = block ? createPreparedSession : createPartSession;
    return new PictureDecoder(part, await create(part, graph, engine, { memoryPattern: false }));
  }

  get tokens(): number {
    return gridSide(this.part.config) ** 2;
  }

  async decode(tokens: ArrayLike<number>, options: CallOptions = {}): Promise<RgbImage> {
    return (await this.decodeAll([tokens], options))[0]!;
  }

  async decodeAll(grids: readonly ArrayLike<number>[], options: CallOptions = {}): Promise<RgbImage[]> {
    const { config } = this.part;
    for (const grid of grids) checkGrid(grid, { tokens: this.tokens, codebookSize: config.codebookSize });
    const images: RgbImage[] = [];
    for (const batch of batches(grids, picturesOfARun(config))) {
      const { pixels } = await this.session.run({ tokens: gridTensor(batch) }, options);
      images.push(...tensorToImages(pixels as Tensor<'float32'>));
    }
    return images;
  }

  close(): Promise<void> {
    return this.session.close();
  }
}

/**
 * The block of this machine's convolutions where blocks pay: for large pictures, which come one in a run, on a CPU,
 * where the network's channels fill blocks. Small ones in a batch are faster without, and load sooner.
 */
async function channelBlock(config: VqganConfig, { provider = 'cpu' }: EngineOptions): Promise<8 | 16 | undefined> {
  if (provider !== 'cpu' || picturesOfARun(config) > 1) return undefined;
  const block = await nativeChannelBlock();
  return block && decodesInBlocks(config, block) ? block : undefined;
}
