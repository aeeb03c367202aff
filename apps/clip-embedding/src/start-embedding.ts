import { ClipEmbeddingDefinition } from '@clip-gen/contracts';
import { hashWeights, ImageEncoder, openClipPart, partFolder, TextEncoder } from '@clip-gen/generation';
import { startService, type Running, type ServiceDeps } from '@clip-gen/service';
import { serve, WorkQueue } from '@clip-gen/serving';
import type { EmbeddingSettings } from './config.ts';
import { EmbeddingMetrics } from './embedding-metrics.ts';
import { embeddingService } from './embedding-service.ts';

/** Longest side of a picture, by the contract. */
const MAX_IMAGE_SIDE = 8192;

/**
 * Loads CLIP and serves it.
 *
 * @throws not_found, data_corrupt or failed_precondition for a model that cannot be served; what `startService` throws
 */
export function startEmbedding(settings: EmbeddingSettings, deps: ServiceDeps = {}): Promise<Running> {
  const { provider, threads, concurrency, queueLimit, maxTexts, maxTextCharacters, maxImages } = settings;
  return startService({
    name: 'clip-embedding',
    settings,
    ...deps,
    load: async ({ metrics }) => {
      const part = await openClipPart(await partFolder(settings.model, 'clip'));
      const weightsSha256 = await hashWeights(part);
      const engine = { provider, ...(threads > 0 && { threads }) };
      const textEncoder = await TextEncoder.open(part, engine);
      const imageEncoder = await ImageEncoder.open(part, engine).catch(async (error: unknown) => {
        await textEncoder.close();
        throw error;
      });
      const { maxImageBytes: maxBytes, maxImagePixels: maxPixels } = settings;
      const service = embeddingService({
        textEncoder,
        imageEncoder,
        weightsSha256,
        limits: { maxTexts, maxTextCharacters, maxImages, pictures: { maxBytes, maxPixels, maxSide: MAX_IMAGE_SIDE } },
        queue: new WorkQueue({ name: 'embedding', concurrency, maxWaiting: queueLimit, metrics }),
        metrics: new EmbeddingMetrics(metrics),
      });
      return {
        services: [serve(ClipEmbeddingDefinition, service)],
        async warmUp() {
          await textEncoder.encode(['a picture']);
          const side = part.config.vision.imageSize;
          await imageEncoder.encode([{ width: side, height: side, data: new Uint8Array(side * side * 3) }]);
        },
        close: async () => {
          await Promise.all([textEncoder.close(), imageEncoder.close()]);
        },
      };
    },
  });
}
