import { access } from 'node:fs/promises';
import { join } from 'node:path';
import {
  hashWeights,
  openPreviewOf,
  openPreviewPart,
  openVqganPart,
  PreviewDecoder,
  type CallOptions,
  type EngineOptions,
  type PreviewPart,
} from '@clip-gen/generation';
import type { RgbImage } from '@clip-gen/image';
import type { DecoderDescription, TokenGridDecoder } from './token-grid-decoder.ts';

/** The preview decoder of a model: many times faster than its VQGAN, nearly the same pictures, one way only. */
export class PreviewGridDecoder implements TokenGridDecoder {
  private constructor(
    readonly description: DecoderDescription,
    private readonly decoder: PreviewDecoder,
  ) {}

  /**
   * Loads the network. The caller closes it.
   *
   * @param folder a model's, or the preview decoder's own
   * @throws what `openPreviewPart` throws; not_found with the next step for a model that has none
   */
  static async open(folder: string, engine: EngineOptions): Promise<PreviewGridDecoder> {
    const part = await openPart(folder);
    const { gridSize, codebookSize } = part.config;
    const weightsSha256 = await hashWeights(part);
    const decoder = await PreviewDecoder.open(part, engine);
    const description = {
      name: 'preview',
      weightsSha256,
      grid: { height: gridSize, width: gridSize },
      codebookSize,
      image: { height: decoder.side, width: decoder.side },
    };
    return new PreviewGridDecoder(description, decoder);
  }

  decode(grids: readonly Int32Array[], options: CallOptions): Promise<RgbImage[]> {
    return this.decoder.decodeAll(grids, options);
  }

  close(): Promise<void> {
    return this.decoder.close();
  }
}

async function openPart(folder: string): Promise<PreviewPart> {
  const isPart = await access(join(folder, 'config.json')).then(
    () => true,
    () => false,
  );
  return isPart ? openPreviewPart(folder) : openPreviewOf(folder, await openVqganPart(join(folder, 'vqgan')));
}
