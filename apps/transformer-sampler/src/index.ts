export { SAMPLER_SETTINGS, type SamplerSettings } from './config.ts';
export { startSampler } from './start-sampler.ts';
