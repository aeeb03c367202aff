import { Readable } from 'node:stream';
import type { FastifyInstance } from 'fastify';
import type { Core } from '../core.ts';
import { checkRequest, type FieldNames, type GenerationRequest } from '../generation-request.ts';
import { invalidField } from '../invalid-field.ts';
import type { GenerationEvent } from '../pipeline/generation-event.ts';
import { compressionQuality, type EncodedPicture, type PictureEncoding } from '../picture-encoding.ts';
import { parseBody } from './fields.ts';
import { hangUpSignal } from './hang-up-signal.ts';
import { ImagesRequest, type ImagesEvent, type ImagesResponse, type Usage } from './images-schema.ts';
import { decoderOfModel } from './model-names.ts';
import { serverSentEvents } from './server-sent-events.ts';

const NAMES: FieldNames = {
  prompt: 'prompt',
  n: 'n',
  candidates: 'candidates',
  seed: 'seed',
  temperature: 'temperature',
  topK: 'top_k',
  topP: 'top_p',
  guidance: 'guidance_scale',
  decoder: 'decoder',
  partials: 'partial_images',
  partialDecoder: 'partial_decoder',
};

/** `POST /v1/images/generations`, in the shape of OpenAI's. */
export function imagesRoute(app: FastifyInstance, core: Core): void {
  app.post('/v1/images/generations', async (http, reply) => {
    const body = parseBody(ImagesRequest, http.body);
    const request = readRequest(body, core);
    const events = core.generator.generate(request, hangUpSignal(reply));
    if (!body.stream) return collect(events, request);
    // Until the request is in order its errors have a status of their own.
    const first = await events.next();
    const stream = streamed(first, events, request, body.progress ?? false);
    return reply
      .header('content-type', 'text/event-stream; charset=utf-8')
      .header('cache-control', 'no-store')
      .header('x-accel-buffering', 'no')
      .send(Readable.from(serverSentEvents(stream, http.id), { objectMode: false }));
  });
}

function readRequest(body: ImagesRequest, core: Core): GenerationRequest {
  const { prompt, n, candidates, seed, temperature, partial_images: partials } = body;
  const decoder = body.decoder ?? decoderOfModel(body.model, core);
  const draft = {
    ...{ prompt, n, candidates, seed, temperature, topK: body.top_k, topP: body.top_p },
    guidance: body.guidance_scale,
    decoder,
    partials: body.stream ? partials : 0,
    partialDecoder: body.partial_decoder,
    encoding: readEncoding(body, core.settings.maxImageSide),
  };
  return checkRequest(draft, core.limits(), NAMES);
}

function readEncoding(body: ImagesRequest, maxSide: number): PictureEncoding {
  const { output_format: format = 'png', output_compression: compression, size = 'auto' } = body;
  const lossless = format === 'png' && compression === 100;
  const quality = compressionQuality(format, lossless ? undefined : compression, 'output_compression');
  if (size === 'auto') return { format, quality };
  const [width = 0, height = 0] = size.split('x').map(Number);
  if (Math.min(width, height) < MIN_SIDE || Math.max(width, height) > maxSide) {
    throw invalidField('size', `auto, or sides in [${MIN_SIDE}, ${maxSide}]`, size);
  }
  return { format, quality, size: { width, height } };
}

const MIN_SIDE = 8;

async function collect(events: AsyncIterable<GenerationEvent>, request: GenerationRequest): Promise<ImagesResponse> {
  const data: ImagesResponse['data'] = [];
  let size = '';
  let tokens = 0;
  for await (const event of events) {
    if (event.kind === 'picture') {
      size = sizeOf(event.picture);
      data.push({
        b64_json: base64(event.picture),
        seed: request.seed,
        candidate: event.candidate,
        clip_score: event.score,
      });
    } else if (event.kind === 'finished') tokens = event.tokens;
  }
  return {
    created: unixSeconds(),
    data,
    background: 'opaque',
    output_format: formatOf(request),
    size,
    usage: usageOf(tokens),
  };
}

async function* streamed(
  first: IteratorResult<GenerationEvent, void>,
  events: AsyncGenerator<GenerationEvent, void>,
  request: GenerationRequest,
  progress: boolean,
): AsyncGenerator<ImagesEvent> {
  try {
    let tokens = 0;
    for (let next = first; !next.done; next = await events.next()) {
      const event = next.value;
      if (event.kind === 'progress') tokens = event.tokens;
      const told = toImagesEvent(event, request, tokens);
      if (told && (progress || event.kind !== 'progress')) yield told;
    }
  } finally {
    await events.return();
  }
}

function toImagesEvent(event: GenerationEvent, request: GenerationRequest, tokens: number): ImagesEvent | undefined {
  switch (event.kind) {
    case 'accepted':
    case 'finished':
      return undefined;
    case 'progress':
      return {
        type: 'image_generation.progress',
        tokens: event.tokens,
        tokens_total: event.tokensTotal,
        images: event.images,
        images_total: event.imagesTotal,
      };
    case 'partial':
      return {
        type: 'image_generation.partial_image',
        partial_image_index: event.index,
        ...described(event.picture, request),
      };
    case 'picture':
      return {
        type: 'image_generation.completed',
        ...described(event.picture, request),
        index: event.rank,
        seed: request.seed,
        candidate: event.candidate,
        clip_score: event.score,
        usage: usageOf(tokens),
      };
  }
}

function described(picture: EncodedPicture, request: GenerationRequest) {
  return {
    b64_json: base64(picture),
    created_at: unixSeconds(),
    size: sizeOf(picture),
    quality: 'auto',
    background: 'opaque',
    output_format: formatOf(request),
  } as const;
}

function formatOf({ encoding: { format } }: GenerationRequest): 'png' | 'jpeg' | 'webp' {
  return format === 'rgb8' ? 'png' : format; // REST has no rgb8
}

function usageOf(tokens: number): Usage {
  const input_tokens_details = { image_tokens: 0, text_tokens: 0 };
  return { input_tokens: 0, input_tokens_details, output_tokens: tokens, total_tokens: tokens };
}

function base64({ data }: EncodedPicture): string {
  return Buffer.from(data.buffer, data.byteOffset, data.byteLength).toString('base64');
}

function sizeOf({ width, height }: EncodedPicture): string {
  return `${width}x${height}`;
}

function unixSeconds(): number {
  return Math.floor(Date.now() / 1000);
}
