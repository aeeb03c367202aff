import { ImageEncoder } from './image-encoder.ts';
import type { GridDecoder } from './grid-decoder.ts';
import type { EngineOptions } from './model-part.ts';
import { openModelParts, type ModelParts, type ModelPartsOptions } from './model-parts.ts';
import { PictureDecoder } from './picture-decoder.ts';
import { PreviewDecoder } from './preview-decoder.ts';
import { TextEncoder } from './text-encoder.ts';
import { TokenSampler } from './token-sampler.ts';

/** A loaded model: the four networks that generation needs. It owns native memory: call `close()`. */
export interface Model {
  readonly parts: ModelParts;
  readonly textEncoder: TextEncoder;
  readonly tokenSampler: TokenSampler;
  readonly pictureDecoder: GridDecoder;
  readonly imageEncoder: ImageEncoder;
  /** Frees the sessions once running calls are done. */
  close(): Promise<void>;
}

/**
 * Opens the model in `folder`: `clip/`, `vqgan/` and `gpt/`, each with `config.json` and `model.safetensors` (float32 or
 * float16), and `clip/tokenizer.json` unless the vocabulary is OpenAI's; `generation.json` where it has defaults of its own. All is checked before anything is loaded; the
 * networks then load at the same time.
 *
 * @throws not_found, data_corrupt or failed_precondition in one line that names the file and what is wrong with it;
 * unavailable when the provider is not there
 */
export async function openModel(folder: string, options: EngineOptions & ModelPartsOptions = {}): Promise<Model> {
  const { decoder, ...engine } = options;
  return loadModel(await openModelParts(folder, { decoder }), engine);
}

/** Loads the networks of a model that {@link openModelParts} has checked. The caller closes it. */
export async function loadModel(parts: ModelParts, engine: EngineOptions = {}): Promise<Model> {
  const loading = [
    TextEncoder.open(parts.clip, engine),
    TokenSampler.open(parts.gpt, engine),
    parts.preview ? PreviewDecoder.open(parts.preview, engine) : PictureDecoder.open(parts.vqgan, engine),
    ImageEncoder.open(parts.clip, engine),
  ] as const;
  const close = async (): Promise<void> => {
    for (const network of await Promise.allSettled(loading)) {
      if (network.status === 'fulfilled') await network.value.close();
    }
  };
  try {
    const [textEncoder, tokenSampler, pictureDecoder, imageEncoder] = await Promise.all(loading);
    return { parts, textEncoder, tokenSampler, pictureDecoder, imageEncoder, close };
  } catch (error) {
    await close();
    throw error;
  }
}
