export {
  float,
  floatAttribute,
  int,
  intAttribute,
  ints,
  intsAttribute,
  string,
  type Attribute,
  type Attributes,
} from './attribute.ts';
export {
  broadcastShapes,
  normalizeAxis,
  sameShape,
  showShape,
  staticDim,
  staticShape,
  staticSize,
  type Dim,
  type Shape,
} from './dim.ts';
export { GraphBuilder, type OutputSpec, type Parameter } from './graph-builder.ts';
export { encodeModel, type ExternalLocation, type ModelOptions, type QuantizedLocation } from './model-proto.ts';
export {
  encodeSegments,
  type ModelSegment,
  type OutputGroup,
  type PassedTensor,
  type SegmentedModel,
  type SegmentOptions,
} from './model-segments.ts';
export { encodePrepared, type Preparation, type PreparedModel, type PreparedOptions } from './prepared-model.ts';
export { linearWeights, type BlockFormat } from './quantized-matrices.ts';
export { COMPOSITE_OPS, CONTRIB_OPS, ONNX_OPS, type OpType } from './op-type.ts';
export { usedParameters } from './reachable.ts';
export { type Node, type Value } from './value.ts';
export { gelu, quickGelu, silu, stopGradient, straightThrough } from './ops/activation.ts';
export { groupQueryAttention, type CachedAttention, type CachedAttentionInputs } from './ops/attention.ts';
export { conv, convTranspose, turnKernel, upsampleNearest, type ConvOptions } from './ops/convolution.ts';
export {
  abs,
  add,
  cast,
  clip,
  cos,
  div,
  equal,
  erf,
  exp,
  greater,
  identity,
  leakyRelu,
  less,
  log,
  max,
  min,
  mul,
  neg,
  pow,
  relu,
  sigmoid,
  sign,
  softplus,
  sqrt,
  sub,
  tanh,
  where,
} from './ops/elementwise.ts';
export { biasGelu } from './ops/fused.ts';
export { gather, gatherElements, scatterElementsAdd } from './ops/indexing.ts';
export { fusedMatMul, gemm, matMul } from './ops/linalg.ts';
export {
  batchNormalization,
  groupNormalization,
  layerNormalization,
  logSoftmax,
  softmax,
} from './ops/normalization.ts';
export { crossEntropy } from './ops/objective.ts';
export { matMulNBits, type QuantizedProductOptions } from './ops/quantization.ts';
export { argMax, argMin, reducedCount, reduceMean, reduceSum } from './ops/reduce.ts';
export { concat, expand, pad, pixelShuffle, pixelUnshuffle, reshape, slice, split, transpose } from './ops/shape.ts';
export { phaseKernels, upsampledConv, type PhaseKernel } from './ops/upsampled-convolution.ts';
export { type Operand } from './ops/check.ts';
