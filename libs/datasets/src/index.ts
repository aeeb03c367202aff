export { CAPTIONS_FILE, readCaptions } from './captions.ts';
export type { Augmentation } from './crop-pixels.ts';
export type { ImageBatch } from './image-batch.ts';
export { ImageDataset, type BatchOptions, type BatchPart, type DatasetSummary } from './image-dataset.ts';
export { DEFAULT_CACHE_BYTES, openImageDataset, type ImageDatasetOptions } from './open-image-dataset.ts';
export { scanImageFolder } from './scan-image-folder.ts';
export { isValidationFile } from './split-files.ts';
