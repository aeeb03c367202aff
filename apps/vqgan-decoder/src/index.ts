export { writeAverageColourDecoder } from './average-colour-decoder.ts';
export { DECODER_SETTINGS, type DecoderSettings } from './config.ts';
export { startDecoder } from './start-decoder.ts';
export type { DecoderDescription, TokenGridDecoder } from './token-grid-decoder.ts';
export { VqganGridDecoder } from './vqgan-grid-decoder.ts';
