export { gridSide, VQGAN_PRESETS, vqganConfigSchema, type VqganConfig } from './config.ts';
export { decodeLatents } from './decoder.ts';
export { discriminate, type BatchStatistics } from './discriminator.ts';
export { encodeLatents } from './encoder.ts';
export { codebook, latentRows, lookUp, nearestCodes, quantize, type Quantized } from './quantizer.ts';
