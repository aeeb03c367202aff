export { selfAttention, type AttentionOptions } from './attention.ts';
export { blockedLayers } from './blocked-layers.ts';
export { conv2d, same, upsampledConv2d } from './convolution.ts';
export {
  constant,
  fanIn,
  initialize,
  normal,
  ones,
  uniform,
  xavier,
  zeros,
  type Initializer,
  type ParameterSpec,
} from './initializer.ts';
export { linear, productDim, project, type LinearOptions } from './linear.ts';
export { PLAIN_LAYERS, type FeatureMap, type GroupNormSizes, type MapLayers } from './map-layers.ts';
export { batchNorm, groupNorm, layerNorm } from './norm.ts';
export { resizeBilinear } from './resize.ts';
export { Scope } from './scope.ts';
export { type Strip, type StripedMap } from './strips.ts';
