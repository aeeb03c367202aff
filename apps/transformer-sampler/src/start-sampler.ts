import { join } from 'node:path';
import { TransformerSamplerDefinition } from '@clip-gen/contracts';
import {
  hashWeights,
  openGptPart,
  partFolder,
  readDefaultsFile,
  readGenerationDefaults,
  TokenSampler,
  validateRequest,
} from '@clip-gen/generation';
import { startService, type Running, type ServiceDeps } from '@clip-gen/service';
import { serve, WorkQueue } from '@clip-gen/serving';
import type { SamplerSettings } from './config.ts';
import { SamplerMetrics } from './sampler-metrics.ts';
import { samplerService } from './sampler-service.ts';

/**
 * Loads the transformer and serves it.
 *
 * @throws not_found, data_corrupt or failed_precondition for a model that cannot be served; what `startService` throws
 */
export function startSampler(settings: SamplerSettings, deps: ServiceDeps = {}): Promise<Running> {
  const { provider, threads, maxGrids, bufferTokens, stallMs, concurrency, queueLimit } = settings;
  return startService({
    name: 'transformer-sampler',
    settings,
    ...deps,
    load: async ({ metrics }) => {
      const part = await openGptPart(await partFolder(settings.model, 'gpt'));
      const weightsSha256 = await hashWeights(part);
      const { vocabularySize, conditionSize } = part.config;
      const own =
        settings.generationDefaults === ''
          ? await readGenerationDefaults(join(part.folder, '..'), vocabularySize)
          : await readDefaultsFile(settings.generationDefaults, vocabularySize);
      const usual = validateRequest({ prompt: 'any', pictures: 1 }, vocabularySize, own);
      const sampler = await TokenSampler.open(part, { provider, ...(threads > 0 && { threads }) });
      const service = samplerService({
        sampler,
        weightsSha256,
        defaults: usual.sampling,
        defaultCandidates: usual.candidates,
        limits: { maxGrids },
        buffer: { capacity: bufferTokens, stallMs },
        queue: new WorkQueue({ name: 'sampler', concurrency, maxWaiting: queueLimit, metrics }),
        metrics: new SamplerMetrics(metrics),
      });
      return {
        services: [serve(TransformerSamplerDefinition, service)],
        async warmUp() {
          const condition = new Float32Array(conditionSize).fill(Math.sqrt(1 / conditionSize));
          const request = { ...usual.sampling, seed: 0, candidates: 1 };
          for await (const [step] of sampler.sampleSteps([condition], request)) if (step?.position === 1) break;
        },
        close: () => sampler.close(),
      };
    },
  });
}
