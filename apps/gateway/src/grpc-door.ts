import {
  ImageFormat,
  type DeepPartial,
  type GenerateRequest,
  type GenerateResponse,
  type ImageGenerationServiceImplementation,
} from '@clip-gen/contracts';
import { ClipGenError } from '@clip-gen/errors';
import { currentRequestId } from '@clip-gen/telemetry';
import type { Core } from './core.ts';
import { checkRequest, type FieldNames, type GenerationRequest } from './generation-request.ts';
import { invalidField } from './invalid-field.ts';
import { compressionQuality, type EncodedPicture, type PictureEncoding } from './picture-encoding.ts';
import type { GenerationEvent } from './pipeline/generation-event.ts';

const NAMES: FieldNames = {
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
};

const FORMATS: Readonly<Partial<Record<ImageFormat, PictureEncoding['format']>>> = {
  [ImageFormat.IMAGE_FORMAT_UNSPECIFIED]: 'png',
  [ImageFormat.IMAGE_FORMAT_RGB8]: 'rgb8',
  [ImageFormat.IMAGE_FORMAT_PNG]: 'png',
  [ImageFormat.IMAGE_FORMAT_JPEG]: 'jpeg',
  [ImageFormat.IMAGE_FORMAT_WEBP]: 'webp',
};

const WIRE_FORMATS: Readonly<Record<PictureEncoding['format'], ImageFormat>> = {
  rgb8: ImageFormat.IMAGE_FORMAT_RGB8,
  png: ImageFormat.IMAGE_FORMAT_PNG,
  jpeg: ImageFormat.IMAGE_FORMAT_JPEG,
  webp: ImageFormat.IMAGE_FORMAT_WEBP,
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
  const { prompt, n, candidates, seed, sampling, decoder, partialImages, compression } = message;
  const format = FORMATS[message.format];
  if (!format) throw invalidField('format', 'a format of ImageFormat', message.format);
  const draft = {
    ...{ prompt, n, candidates, seed, decoder, ...sampling },
    partials: partialImages,
    encoding: { format, quality: compressionQuality(format, compression, 'compression') },
  };
  return checkRequest(draft, core.limits(), NAMES);
}

function toResponse(event: GenerationEvent, { encoding }: GenerationRequest): DeepPartial<GenerateResponse> {
  const image = ({ width, height, data }: EncodedPicture) => ({
    format: WIRE_FORMATS[encoding.format],
    width,
    height,
    data,
  });
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
