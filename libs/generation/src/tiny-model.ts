import { createClipTokenizer, cutVocabulary } from '@clip-gen/tokenizer';
import { writeRandomModel, type ModelConfigs } from './random-model.ts';

/** Sizes that tests may ask for. */
export interface TinyModelOptions {
  /** Tokens of a grid: a square; 16 by default. The picture has 4 pixels for each of a row. */
  readonly tokens?: number;
  /** Codes; 33 by default. */
  readonly codebookSize?: number;
  /** Width of the transformer, a multiple of 16; 16 by default. More makes it slower. */
  readonly gptWidth?: number;
  /** Seed of the weights; 0 by default. */
  readonly seed?: number;
}

/**
 * Writes an untrained model that loads in an instant and knows the words `a slice of pizza`: for tests of what stands
 * around a model.
 */
export async function writeTinyModel(folder: string, options: TinyModelOptions = {}): Promise<ModelConfigs> {
  const { tokens = 16, codebookSize = 33, gptWidth = 16, seed } = options;
  const { tokenizer } = cutVocabulary(createClipTokenizer(), ['a slice of pizza'], 600);
  const configs: ModelConfigs = {
    clip: {
      model: 'clip',
      embeddingSize: 16,
      vision: { imageSize: 16, patchSize: 8, width: 32, layers: 1, heads: 2 },
      text: { contextLength: 10, vocabularySize: tokenizer.vocabularySize, width: 32, layers: 1, heads: 2 },
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
  await writeRandomModel(folder, configs, { tokenizer, ...(seed !== undefined && { seed }) });
  return configs;
}
