export { EMBEDDING_SETTINGS, type EmbeddingSettings } from './config.ts';
export { startEmbedding } from './start-embedding.ts';
