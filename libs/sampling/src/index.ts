export { combineGuidance } from './guidance.ts';
export { Sampler } from './sampler.ts';
export {
  MAX_GUIDANCE,
  MAX_TEMPERATURE,
  MAX_VOCABULARY_SIZE,
  validateSampling,
  type SamplingOptions,
  type ValidSamplingOptions,
} from './sampling-options.ts';
export { tokenUniform } from './token-uniform.ts';
