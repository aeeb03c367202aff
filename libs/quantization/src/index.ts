export {
  BLOCK_FORMATS,
  blockBytes,
  blockFormatSchema,
  blocksOf,
  PACKED_SUFFIX,
  SCALES_SUFFIX,
  type QuantizedBits,
} from './block-format.ts';
export { blockScales, type Matrix, type ScaleChoice } from './block-scales.ts';
export { activationImportance, compensatedRounding } from './compensated-rounding.ts';
export { errorStatistics, relativeError, type ErrorStatistics } from './error-statistics.ts';
export { dequantizeMatrix, quantizeMatrix, roundToScales, type QuantizedMatrix } from './quantize-matrix.ts';
export { quantizeWeights, type QuantizeOptions, type QuantizeReport } from './quantize-weights.ts';
export { blocksForm, quantizedForm, quantizedLocation, type StoredTensor } from './stored-form.ts';
