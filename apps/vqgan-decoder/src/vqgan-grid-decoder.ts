import {
  hashWeights,
  openVqganPart,
  partFolder,
  PictureDecoder,
  PictureTokenizer,
  type CallOptions,
  type EngineOptions,
} from '@clip-gen/generation';
import { fitSquare, type RgbImage } from '@clip-gen/image';
import type { DecoderDescription, TokenGridDecoder } from './token-grid-decoder.ts';

/** The VQGAN of a model, both ways. */
export class VqganGridDecoder implements TokenGridDecoder {
  private constructor(
    readonly description: DecoderDescription,
    private readonly decoder: PictureDecoder,
    private readonly tokenizer: PictureTokenizer,
  ) {}

  /**
   * Loads the network. The caller closes it.
   *
   * @param folder a model's, or the VQGAN's own
   * @throws what `openVqganPart` throws
   */
  static async open(folder: string, engine: EngineOptions): Promise<VqganGridDecoder> {
    const part = await openVqganPart(await partFolder(folder, 'vqgan'));
    const weightsSha256 = await hashWeights(part);
    const decoder = await PictureDecoder.open(part, engine);
    try {
      const tokenizer = await PictureTokenizer.open(part, engine);
      const { imageSize, codebookSize } = part.config;
      const side = Math.sqrt(decoder.tokens);
      const grid = { height: side, width: side };
      const image = { height: imageSize, width: imageSize };
      return new VqganGridDecoder({ name: 'vqgan', weightsSha256, grid, codebookSize, image }, decoder, tokenizer);
    } catch (error) {
      await decoder.close();
      throw error;
    }
  }

  decode(grids: readonly Int32Array[], options: CallOptions): Promise<RgbImage[]> {
    return this.decoder.decodeAll(grids, options);
  }

  async encode(images: readonly RgbImage[], options: CallOptions): Promise<Int32Array[]> {
    const grids: Int32Array[] = [];
    for (const image of images) {
      const square = await fitSquare(image, this.description.image.height);
      grids.push(await this.tokenizer.tokenize(square, options));
    }
    return grids;
  }

  async close(): Promise<void> {
    await Promise.all([this.decoder.close(), this.tokenizer.close()]);
  }
}
