import { ImageFormat, ImageGenerationDefinition, type ImageGenerationClient } from '@clip-gen/contracts';
import { ClipGenError } from '@clip-gen/errors';
import { cosine, generate, rank, validateRequest, type Model } from '@clip-gen/generation';
import { encodeImage } from '@clip-gen/image';
import { connect, ERROR_STATUS, type CallExtras, type Connection } from '@clip-gen/serving';

/** One prompt to one picture, the best of some candidates; the rest is as the model has it. */
export interface PictureRequest {
  readonly prompt: string;
  readonly seed: number;
  readonly candidates: number;
}

/** A way to a picture: its PNG file, of the decoder's size. @throws resource_exhausted, deadline_exceeded, cancelled, … */
export type PictureDoor = (request: PictureRequest, signal?: AbortSignal) => Promise<Uint8Array>;

/** Longer than the gateway itself is patient. */
const DEADLINE_MS = 600_000;

/** In this process: what `clip-gen generate` does, its size left as it is. */
export function inProcess(model: Model): PictureDoor {
  return async (request) => {
    const { pictures } = await generate(model, request);
    return encodeImage(pictures[0]!.image, { format: 'png' });
  };
}

/** Several prompts in this process with every network run once for all of them: what merging requests could give. */
export async function allAtOnce(
  model: Model,
  prompts: readonly string[],
  { seed, candidates }: Omit<PictureRequest, 'prompt'>,
): Promise<Uint8Array[]> {
  const { gpt, defaults } = model.parts;
  const { tokens, vocabularySize } = gpt.config;
  const embeddings = await model.textEncoder.encode(prompts);
  const grids = Array.from({ length: prompts.length * candidates }, () => new Int32Array(tokens));
  const sampling = validateRequest({ prompt: 'any', candidates }, vocabularySize, defaults).sampling;
  for await (const steps of model.tokenSampler.sampleSteps(embeddings, { ...sampling, seed, candidates })) {
    for (const { condition, firstCandidate, position, tokens: drawn } of steps) {
      drawn.forEach((token, i) => (grids[condition * candidates + firstCandidate + i]![position] = token));
    }
  }
  const images = await model.pictureDecoder.decodeAll(grids);
  const judged = await model.imageEncoder.encode(images);
  return Promise.all(
    embeddings.map((embedding, p) => {
      const from = p * candidates;
      const [best] = rank(judged.slice(from, from + candidates).map((picture) => cosine(embedding, picture)));
      return encodeImage(images[from + best!]!, { format: 'png' });
    }),
  );
}

/** `POST /v1/images/generations`. @param url of the gateway */
export function overRest(url: string): PictureDoor {
  return async (request, signal) => {
    const response = await fetch(`${url}/v1/images/generations`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(request),
      ...(signal && { signal }),
    });
    const answer = (await response.json()) as RestAnswer;
    if (!response.ok) throw restError(response, answer);
    return Buffer.from(answer.data![0]!.b64_json, 'base64');
  };
}

interface RestAnswer {
  readonly data?: readonly { readonly b64_json: string }[];
  readonly error?: { readonly message: string };
}

function restError({ status, headers }: Response, { error }: RestAnswer): ClipGenError {
  const refused = status === ERROR_STATUS.resource_exhausted.http;
  const late = status === ERROR_STATUS.deadline_exceeded.http;
  const code = refused ? 'resource_exhausted' : late ? 'deadline_exceeded' : 'internal';
  const seconds = headers.get('retry-after');
  const retryAfterMs = seconds === null ? undefined : Number(seconds) * 1e3;
  return new ClipGenError(code, `${status}: ${error?.message ?? 'no message'}`, { retryAfterMs });
}

/** A connection to a gateway; the caller closes it. @param address `host:port` */
export function connectGateway(address: string): Connection<ImageGenerationClient<CallExtras>> {
  return connect(ImageGenerationDefinition, { addresses: [address], name: 'gateway', deadlineMs: DEADLINE_MS });
}

/** `ImageGeneration.Generate` over one connection. */
export function overGrpc(client: ImageGenerationClient<CallExtras>): PictureDoor {
  return async (request, signal) => (await readPicture(client, request, { signal })).picture;
}

/**
 * The same with the time until a partial picture of the first candidate came, in milliseconds.
 *
 * @param partials of the first candidate, in [0, 3]; without them `firstPartialMs` is NaN
 */
export async function readPicture(
  client: ImageGenerationClient<CallExtras>,
  request: PictureRequest,
  { partials = 0, signal }: { readonly partials?: number; readonly signal?: AbortSignal | undefined } = {},
): Promise<{ readonly picture: Uint8Array; readonly firstPartialMs: number }> {
  const message = {
    ...request,
    seed: BigInt(request.seed),
    partialImages: partials,
    format: ImageFormat.IMAGE_FORMAT_PNG,
  };
  const start = performance.now();
  let firstPartialMs = NaN;
  let picture: Uint8Array | undefined;
  for await (const { event } of client.generate(message, { retry: false, ...(signal && { signal }) })) {
    if (event?.$case === 'partial' && event.value.index === 0) firstPartialMs = performance.now() - start;
    if (event?.$case === 'image') picture = event.value.image?.data;
  }
  if (!picture) throw new ClipGenError('internal', 'the stream ended without a picture');
  return { picture, firstPartialMs };
}
