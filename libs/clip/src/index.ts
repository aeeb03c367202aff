export { encodeImage, encodeText, fromSignedPixels, logitScale, normalizeRows } from './clip.ts';
export { CLIP_PRESETS, clipConfigSchema, type ClipConfig } from './config.ts';
