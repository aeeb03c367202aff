import { TokenDecoderDefinition } from '@clip-gen/contracts';
import type { EngineOptions } from '@clip-gen/generation';
import { startService, type Running, type ServiceDeps } from '@clip-gen/service';
import { serve, WorkQueue } from '@clip-gen/serving';
import type { DecoderSettings } from './config.ts';
import { DecoderMetrics } from './decoder-metrics.ts';
import { decoderService } from './decoder-service.ts';
import { OnnxGridDecoder } from './onnx-grid-decoder.ts';
import { PreviewGridDecoder } from './preview-grid-decoder.ts';
import type { TokenGridDecoder } from './token-grid-decoder.ts';
import { VqganGridDecoder } from './vqgan-grid-decoder.ts';

/** Longest side of a picture, by the contract. */
const MAX_IMAGE_SIDE = 8192;

/**
 * Loads a decoder and serves it: the model's VQGAN or preview decoder, or the ONNX file of `decoderManifest`.
 *
 * @throws not_found, data_corrupt or failed_precondition for a decoder that cannot be served; what `startService` throws
 */
export function startDecoder(settings: DecoderSettings, deps: ServiceDeps = {}): Promise<Running> {
  const { concurrency, queueLimit, maxDecodes, maxGrids, turnGrids, idleMs, maxImageBytes, maxImagePixels } = settings;
  return startService({
    name: 'vqgan-decoder',
    settings,
    ...deps,
    load: async ({ metrics }) => {
      const decoder = await openDecoder(settings);
      const service = decoderService({
        decoder,
        // A call has one piece of work in the queue at most: it never overflows.
        queue: new WorkQueue({ name: 'decoder', concurrency, maxWaiting: maxDecodes + queueLimit, metrics }),
        streams: new WorkQueue({ name: 'decode-streams', concurrency: maxDecodes, maxWaiting: 0, metrics }),
        encodes: new WorkQueue({ name: 'encode-calls', concurrency: queueLimit, maxWaiting: 0, metrics }),
        metrics: new DecoderMetrics(metrics),
        pictures: { maxBytes: maxImageBytes, maxPixels: maxImagePixels, maxSide: MAX_IMAGE_SIDE },
        maxGrids,
        turnGrids,
        idleMs,
      });
      const { grid, image } = decoder.description;
      return {
        services: [serve(TokenDecoderDefinition, service)],
        async warmUp() {
          const empty = Array.from({ length: turnGrids }, () => new Int32Array(grid.height * grid.width));
          await decoder.decode(empty.slice(0, 1), {});
          if (turnGrids > 1) await decoder.decode(empty, {});
          const white = new Uint8Array(image.width * image.height * 3).fill(255);
          await decoder.encode?.([{ ...image, data: white }], {});
        },
        close: () => decoder.close(),
      };
    },
  });
}

function openDecoder(settings: DecoderSettings): Promise<TokenGridDecoder> {
  const { model, decoder, decoderManifest, provider, threads } = settings;
  const engine: EngineOptions = { provider, ...(threads > 0 && { threads }) };
  if (decoderManifest !== '') return OnnxGridDecoder.open(decoderManifest, engine);
  return decoder === 'preview' ? PreviewGridDecoder.open(model, engine) : VqganGridDecoder.open(model, engine);
}
