import { createClipTokenizer, cutVocabulary, type ClipTokenizer } from '@clip-gen/tokenizer';
import { previewConfigFor } from '@clip-gen/vqgan';
import { writeRandomModel, type ModelConfigs, type RandomModelOptions } from './random-model.ts';

/** Sizes that tests may ask for. */
export interface TinySizes {
  /** Tokens of a grid: a square; 16 by default. The picture has 4 pixels for each of a row. */
  readonly tokens?: number;
  /** Codes; 33 by default. */
  readonly codebookSize?: number;
  /** Tokens of a prompt, start and end included; 10 by default. */
  readonly contextLength?: number;
  /** Width of the transformer, a multiple of 16; 16 by default. More makes it slower. */
  readonly gptWidth?: number;
}

/** Sizes, and how the weights are made and stored. */
export interface TinyModelOptions extends TinySizes, Pick<RandomModelOptions, 'seed' | 'dtype'> {
  /** With a preview decoder; without by default. */
  readonly preview?: boolean;
}

/** A model that loads in an instant and knows the words `a slice of pizza`: for tests of what stands around a model. */
export interface TinyModel {
  readonly configs: ModelConfigs;
  readonly tokenizer: ClipTokenizer;
}

/** The sizes of a tiny model, and its vocabulary. */
export function tinyModel(sizes: TinySizes = {}): TinyModel {
  const { tokens = 16, codebookSize = 33, contextLength = 10, gptWidth = 16 } = sizes;
  const { tokenizer } = cutVocabulary(createClipTokenizer(), ['a slice of pizza'], 600);
  const configs: ModelConfigs = {
    clip: {
      model: 'clip',
      embeddingSize: 16,
      vision: { imageSize: 16, patchSize: 8, width: 32, layers: 1, heads: 2 },
      text: { contextLength, vocabularySize: tokenizer.vocabularySize, width: 32, layers: 1, heads: 2 },
    },
    vqgan: {
      model: 'vqgan',
      imageSize: 4 * Math.sqrt(tokens),
      patchSize: 2,
      channels: 8,
      multipliers: [1, 2],
      blocks: 1,
      attentionSides: [],
      groups: 4,
      codebookSize,
      codeSize: 6,
    },
    gpt: {
      model: 'gpt',
      tokens,
      vocabularySize: codebookSize,
      conditionSize: 16,
      width: gptWidth,
      layers: 1,
      heads: 2,
    },
  };
  return { configs, tokenizer };
}

/** Writes an untrained {@link tinyModel}. */
export async function writeTinyModel(folder: string, options: TinyModelOptions = {}): Promise<ModelConfigs> {
  const { seed, dtype, preview = false, ...sizes } = options;
  const { configs, tokenizer } = tinyModel(sizes);
  await writeRandomModel(folder, configs, {
    tokenizer,
    ...(seed !== undefined && { seed }),
    ...(dtype !== undefined && { dtype }),
    ...(preview && { preview: previewConfigFor(configs.vqgan, { channels: [8, 4], blocks: [1, 0] }) }),
  });
  return configs;
}
