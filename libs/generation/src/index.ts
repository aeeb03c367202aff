export { CACHE_FILE, measureCacheSteps, writeCacheSteps, type MeasureOptions } from './cache-steps.ts';
export { generate, type Generation, type Progress, type RankedPicture } from './generate.ts';
export { readDefaultsFile, readGenerationDefaults, type GenerationDefaults } from './generation-defaults.ts';
export type { GridDecoder } from './grid-decoder.ts';
export { partialPositions } from './partial-positions.ts';
export { ImageEncoder } from './image-encoder.ts';
export { createPartSession, type EngineOptions, type ModelPart } from './model-part.ts';
export {
  MODEL_DECODERS,
  clipParameters,
  openClipPart,
  openGptPart,
  openModelParts,
  openVqganPart,
  vqganParameters,
  type ClipPart,
  type GptPart,
  type ModelDecoder,
  type ModelParts,
  type ModelPartsOptions,
  type VqganPart,
} from './model-parts.ts';
export type { CallOptions } from './network.ts';
export { loadModel, openModel, type Model } from './open-model.ts';
export { partFolder } from './part-folder.ts';
export { PictureDecoder, pictureDecoderGraph } from './picture-decoder.ts';
export { createPreparedSession } from './prepared-session.ts';
export { PictureTokenizer } from './picture-tokenizer.ts';
export {
  hasPreview,
  openPreviewOf,
  openPreviewPart,
  PreviewDecoder,
  previewParameters,
  type PreviewPart,
} from './preview-decoder.ts';
export { writeRandomModel, type ModelConfigs, type RandomModelOptions } from './random-model.ts';
export { cosine, rank } from './ranking.ts';
export {
  MAX_REQUEST_CANDIDATES,
  REQUEST_DEFAULTS,
  validateRequest,
  type GenerationRequest,
  type ValidRequest,
} from './request.ts';
export { MAX_GUIDANCE, MAX_TEMPERATURE, MAX_VOCABULARY_SIZE } from '@clip-gen/sampling';
export { SUPPORT_FILE, SupportMemory, supportTable, type SupportOptions, type SupportTable } from './support-memory.ts';
export { TextEncoder, tokenizePrompt } from './text-encoder.ts';
export { writeTinyModel, type TinyModelOptions } from './tiny-model.ts';
export {
  TokenSampler,
  type TokenEvent,
  type TokenRequest,
  type TokenStep,
  type ValidTokenRequest,
} from './token-sampler.ts';
export { hashWeights } from './weights-hash.ts';
