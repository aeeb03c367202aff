export { GPT_PRESETS, gptConfigSchema, type GptConfig } from './config.ts';
export {
  cacheNames,
  cacheShape,
  decodeStep,
  decodeStepGraph,
  emptyCache,
  type DecodeInputs,
  type DecodeOutputs,
} from './decode-step.ts';
export { predictTokens } from './gpt.ts';
