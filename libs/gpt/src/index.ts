export { GPT_PRESETS, gptConfigSchema, type GptConfig } from './config.ts';
export {
  decodeStep,
  decodeStepGraph,
  type DecodeInputs,
  type DecodeOptions,
  type DecodeOutputs,
} from './decode-step.ts';
export { predictTokens } from './gpt.ts';
export { cacheNames, cacheShape, emptyCache, type CacheSteps, type CacheType } from './key-value-cache.ts';
