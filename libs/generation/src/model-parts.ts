import { join } from 'node:path';
import { clipConfigSchema, logitScale, type ClipConfig } from '@clip-gen/clip';
import { ClipGenError } from '@clip-gen/errors';
import { decodeStepGraph, gptConfigSchema, type GptConfig } from '@clip-gen/gpt';
import { GraphBuilder } from '@clip-gen/graph';
import { Scope, type ParameterSpec } from '@clip-gen/nn';
import { createClipTokenizer, tokenizerFromJson, type ClipTokenizer } from '@clip-gen/tokenizer';
import { gridSide, vqganConfigSchema, type VqganConfig } from '@clip-gen/vqgan';
import { readGenerationDefaults, type GenerationDefaults } from './generation-defaults.ts';
import { imageEncoderGraph } from './image-encoder.ts';
import { openModelPart, readText, type ModelPart, type PartContents } from './model-part.ts';
import { pictureDecoderGraph } from './picture-decoder.ts';
import { pictureTokenizerGraph } from './picture-tokenizer.ts';
import { openPreviewOf, type PreviewPart } from './preview-decoder.ts';
import { textEncoderGraph } from './text-encoder.ts';

const TOKENIZER_FILE = 'tokenizer.json';
const MAX_TOKENIZER_BYTES = 64 << 20;

/** CLIP on disk, with its tokenizer. */
export interface ClipPart extends ModelPart<ClipConfig> {
  readonly tokenizer: ClipTokenizer;
}
/** The conditional transformer on disk. */
export type GptPart = ModelPart<GptConfig>;
/** The VQGAN on disk. */
export type VqganPart = ModelPart<VqganConfig>;

/** The three networks of a model, and how it draws. */
export interface ModelParts {
  readonly clip: ClipPart;
  readonly vqgan: VqganPart;
  readonly gpt: GptPart;
  /** The decoder that makes the pictures, where it is not the VQGAN's own. */
  readonly preview?: PreviewPart;
  /** Of `generation.json`; nothing set without one. */
  readonly defaults: GenerationDefaults;
}

/** Decoders that a model can have: the VQGAN's own, and the small one of `preview/`. */
export const MODEL_DECODERS = ['vqgan', 'preview'] as const;
/** One of {@link MODEL_DECODERS}. */
export type ModelDecoder = (typeof MODEL_DECODERS)[number];

/** What of a model is opened. */
export interface ModelPartsOptions {
  /** Which decoder makes the pictures; `vqgan` by default. */
  readonly decoder?: ModelDecoder | undefined;
}

/**
 * Opens a CLIP folder. Without `tokenizer.json` its vocabulary is OpenAI's.
 *
 * @throws what `openModelPart` throws; failed_precondition when the tokenizer has another vocabulary size
 */
export async function openClipPart(folder: string): Promise<ClipPart> {
  const [part, tokenizer] = await Promise.all([
    openModelPart(folder, clipConfigSchema, CLIP_CONTENTS),
    openTokenizer(join(folder, TOKENIZER_FILE)),
  ]);
  const { vocabularySize } = part.config.text;
  if (tokenizer.vocabularySize !== vocabularySize) {
    throw new ClipGenError(
      'failed_precondition',
      `${part.folder}: text.vocabularySize must be the tokenizer's ${tokenizer.vocabularySize}; got ${vocabularySize}`,
    );
  }
  return { ...part, tokenizer };
}

/** Opens a VQGAN folder; weights of its discriminator may be there too. @throws what `openModelPart` throws */
export function openVqganPart(folder: string): Promise<VqganPart> {
  return openModelPart(folder, vqganConfigSchema, VQGAN_CONTENTS);
}

/** Opens a GPT folder. @throws what `openModelPart` throws */
export function openGptPart(folder: string): Promise<GptPart> {
  return openModelPart(folder, gptConfigSchema, GPT_CONTENTS);
}

/**
 * Opens `DIR/clip`, `DIR/vqgan` and `DIR/gpt` and checks that they fit together; reads `DIR/generation.json` where there
 * is one, and `DIR/preview` where its decoder is asked for.
 *
 * @throws what `openModelPart` and `readGenerationDefaults` throw; failed_precondition naming each misfit
 */
export async function openModelParts(
  folder: string,
  { decoder = 'vqgan' }: ModelPartsOptions = {},
): Promise<ModelParts> {
  const [clip, vqgan, gpt] = await Promise.all([
    openClipPart(join(folder, 'clip')),
    openVqganPart(join(folder, 'vqgan')),
    openGptPart(join(folder, 'gpt')),
  ]);
  const side = gridSide(vqgan.config);
  const pairs: readonly (readonly [string, number, string, number])[] = [
    ['gpt.conditionSize', gpt.config.conditionSize, 'clip.embeddingSize', clip.config.embeddingSize],
    ['gpt.vocabularySize', gpt.config.vocabularySize, 'vqgan.codebookSize', vqgan.config.codebookSize],
    ['gpt.tokens', gpt.config.tokens, 'the number of places of the VQGAN grid', side * side],
  ];
  const misfits = pairs.filter(([, got, , wanted]) => got !== wanted);
  if (misfits.length === 0) {
    const defaults = await readGenerationDefaults(folder, gpt.config.vocabularySize);
    return {
      clip,
      vqgan,
      gpt,
      ...(decoder === 'preview' && { preview: await openPreviewOf(folder, vqgan) }),
      defaults,
    };
  }
  const problems = misfits.map(([name, got, source, wanted]) => `${name} must be ${source} (${wanted}), is ${got}`);
  throw new ClipGenError('failed_precondition', `the parts of model ${folder} do not fit: ${problems.join('; ')}`);
}

async function openTokenizer(path: string): Promise<ClipTokenizer> {
  try {
    return tokenizerFromJson(await readText(path, MAX_TOKENIZER_BYTES), path);
  } catch (error) {
    if (error instanceof ClipGenError && error.code === 'not_found') return createClipTokenizer();
    throw error;
  }
}

/** Every weight that a CLIP folder holds. @throws invalid_argument when sizes do not fit together */
export function clipParameters(config: ClipConfig): readonly ParameterSpec[] {
  const scale = new Scope(new GraphBuilder('logit-scale'));
  logitScale(scale);
  return [...imageEncoderGraph(config).scope.specs, ...textEncoderGraph(config).scope.specs, ...scale.specs];
}

/** Every weight that a VQGAN folder must hold. @throws invalid_argument when sizes do not fit together */
export function vqganParameters(config: VqganConfig): readonly ParameterSpec[] {
  return [...pictureTokenizerGraph(config).scope.specs, ...pictureDecoderGraph(config).scope.specs];
}

/** Every weight that a GPT folder holds. @throws invalid_argument when sizes do not fit together */
export function gptParameters(config: GptConfig): readonly ParameterSpec[] {
  return decodeStepGraph(config).scope.specs;
}

const CLIP_CONTENTS: PartContents<ClipConfig> = {
  parameters: clipParameters,
  layers: ({ vision, text }) => vision.layers + text.layers,
  unused: /^(input_resolution|context_length|vocab_size)$/,
};
/** The discriminator's running statistics are under its name too. */
const VQGAN_CONTENTS: PartContents<VqganConfig> = {
  parameters: vqganParameters,
  layers: ({ multipliers, blocks, patchEncoder }) =>
    multipliers.length * (blocks + 1) + (patchEncoder?.blocks ?? multipliers.length * blocks),
  unused: /^discriminator\./,
};
const GPT_CONTENTS: PartContents<GptConfig> = {
  parameters: gptParameters,
  layers: ({ layers }) => layers,
  unused: /^blocks\.\d+\.mask$/,
};
