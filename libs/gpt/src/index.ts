export { GPT_PRESETS, gptConfigSchema, type GptConfig } from './config.ts';
export { predictTokens } from './gpt.ts';
