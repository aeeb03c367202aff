export { gridSide, VQGAN_PRESETS, vqganConfigSchema, type PatchEncoderConfig, type VqganConfig } from './config.ts';
export { decodeLatents, decodesInBlocks } from './decoder.ts';
export { discriminate, type BatchStatistics, type DiscriminatorOptions } from './discriminator.ts';
export { encodeLatents } from './encoder.ts';
export { codebook, latentRows, lookUp, nearestCodes, quantize, type Quantized } from './quantizer.ts';
export { updateRunningStatistics, type RunningStatistics } from './running-statistics.ts';
export {
  PREVIEW_PRESETS,
  previewConfigFor,
  previewConfigSchema,
  previewMisfit,
  previewSide,
  type PreviewConfig,
  type PreviewSizes,
} from './preview-config.ts';
export { decodePreview, decodePreviewLevels, PREVIEW_CODES } from './preview-decoder.ts';
