import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { ClipConfig } from '@clip-gen/clip';
import type { GptConfig } from '@clip-gen/gpt';
import { initialize } from '@clip-gen/nn';
import { toFloat16, writeSafetensors } from '@clip-gen/safetensors';
import { tokenizerToJson, type ClipTokenizer } from '@clip-gen/tokenizer';
import type { PreviewConfig, VqganConfig } from '@clip-gen/vqgan';
import { clipParameters, gptParameters, vqganParameters } from './model-parts.ts';
import { previewParameters } from './preview-decoder.ts';

/** Sizes of the three networks. */
export interface ModelConfigs {
  readonly clip: ClipConfig;
  readonly vqgan: VqganConfig;
  readonly gpt: GptConfig;
}

/** How an untrained model is made and stored. */
export interface RandomModelOptions {
  /** Integer in [0, 2^53); 0 by default. */
  readonly seed?: number;
  /** How the weights are stored; float32 by default. */
  readonly dtype?: 'float32' | 'float16';
  /** Written as `tokenizer.json`; without it the vocabulary is OpenAI's. */
  readonly tokenizer?: ClipTokenizer;
  /** Sizes of a preview decoder; without them the model has none. */
  readonly preview?: PreviewConfig;
}

/**
 * Writes an untrained model: it has the speed and the files of a trained one, and its pictures are noise. For tests and
 * measurements.
 */
export async function writeRandomModel(
  folder: string,
  configs: ModelConfigs,
  options: RandomModelOptions = {},
): Promise<void> {
  const { seed = 0, dtype = 'float32', tokenizer, preview } = options;
  const specs = {
    clip: clipParameters(configs.clip),
    vqgan: vqganParameters(configs.vqgan),
    gpt: gptParameters(configs.gpt),
    ...(preview && { preview: previewParameters(preview) }),
  };
  for (const [part, parameters] of Object.entries(specs)) {
    const weights = [...initialize(parameters, seed)];
    await mkdir(join(folder, part), { recursive: true });
    await writeFile(
      join(folder, part, 'config.json'),
      `${JSON.stringify({ ...configs, preview }[part as keyof typeof specs], null, 2)}\n`,
    );
    await writeSafetensors(
      join(folder, part, 'model.safetensors'),
      weights.map(([name, weight]) => [name, dtype === 'float16' ? toFloat16(weight) : weight] as const),
    );
  }
  if (tokenizer) await writeFile(join(folder, 'clip', 'tokenizer.json'), tokenizerToJson(tokenizer));
}
