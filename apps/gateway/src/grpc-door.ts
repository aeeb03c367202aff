import {
  imageMessage,
  readImageFormat,
  type DeepPartial,
  type GenerateRequest,
  type GenerateResponse,
  type Image,
  type ImageGenerationServiceImplementation,
} from '@clip-gen/contracts';
import { ClipGenError } from '@clip-gen/errors';
import { currentRequestId } from '@clip-gen/telemetry';
import type { Core } from './core.ts';
import { checkRequest, type FieldNames, type GenerationRequest } from './generation-request.ts';
import { compressionQuality, type EncodedPicture } from './picture-encoding.ts';
import type { GenerationEvent } from './pipeline/generation-event.ts';

/** A request's fields by their names in the contract. */
export const CONTRACT_FIELDS: FieldNames = {
  prompt: 'prompt',
  n: 'n',
  candidates: 'candidates',
  seed: 'seed',
  temperature: 'sampling.temperature',
  topK: 'sampling.top_k',
  topP: 'sampling.top_p',
  guidance: 'sampling.guidance',
  decoder: 'decoder',
  partials: 'partial_images',
  partialDecoder: 'partial_decoder',
};

/** The service ImageGeneration: the same pipeline as REST, for gRPC. */
export function imageGeneration(core: Core): ImageGenerationServiceImplementation {
  const admit = (authorization: string | undefined): void => {
    if (!core.keys.allow(authorization)) {
      throw new ClipGenError('unauthenticated', 'authorization must be "Bearer <key>" with a valid key');
    }
  };
  return {
    async *generate(message, context) {
      admit(context.metadata.get('authorization'));
      const request = readRequest(message, core);
      for await (const event of core.generator.generate(request, context.signal)) yield toResponse(event, request);
    },
    async listDecoders(_message, context) {
      admit(context.metadata.get('authorization'));
      return { names: [...core.peers.decoderNames] };
    },
  };
}

function readRequest(message: GenerateRequest, core: Core): GenerationRequest {
  const { prompt, n, candidates, seed, sampling, decoder, partialImages, partialDecoder, compression } = message;
  const format = readImageFormat(message.format, 'format');
  const draft = {
    ...{ prompt, n, candidates, seed, decoder, partialDecoder, ...sampling },
    partials: partialImages,
    encoding: { format, quality: compressionQuality(format, compression, 'compression') },
  };
  return checkRequest(draft, core.limits(), CONTRACT_FIELDS);
}

function toResponse(event: GenerationEvent, { encoding }: GenerationRequest): DeepPartial<GenerateResponse> {
  const image = (picture: EncodedPicture): Image => imageMessage({ layout: encoding.format, ...picture });
  switch (event.kind) {
    case 'accepted': {
      const { seed, candidates } = event;
      const requestId = currentRequestId() ?? '';
      return { event: { $case: 'accepted', value: { requestId, seed: BigInt(seed), candidates } } };
    }
    case 'progress': {
      const { tokens, tokensTotal, images, imagesTotal } = event;
      return { event: { $case: 'progress', value: { tokens, tokensTotal, images, imagesTotal } } };
    }
    case 'partial':
      return { event: { $case: 'partial', value: { index: event.index, image: image(event.picture) } } };
    case 'picture': {
      const { rank, score, candidate } = event;
      return { event: { $case: 'image', value: { rank, score, candidate, image: image(event.picture) } } };
    }
    case 'finished':
      return { event: { $case: 'finished', value: { totalMs: event.totalMs } } };
  }
}
