import { ClipGenError } from '@clip-gen/errors';
import type { RgbImage } from '@clip-gen/image';
import type { Model } from './open-model.ts';
import type { CallOptions } from './network.ts';
import { cosine, rank } from './ranking.ts';
import { validateRequest, type GenerationRequest } from './request.ts';

/** A picture that was kept. */
export interface RankedPicture {
  /** S × S, 8-bit; the caller's. */
  readonly image: RgbImage;
  /** Cosine of its CLIP embedding with the prompt's, in [−1, 1]: what it was chosen by. */
  readonly score: number;
  /** Its number among the candidates: with the seed it names the picture. */
  readonly candidate: number;
  /** Its token grid, g·g codes row by row. */
  readonly tokens: Int32Array;
}

/** What one request gave; the caller's. */
export interface Generation {
  readonly prompt: string;
  readonly seed: number;
  /** The prompt's unit embedding, float32 (E). */
  readonly embedding: Float32Array;
  /** Best first. */
  readonly pictures: readonly RankedPicture[];
}

/** How far a generation is: tokens drawn, then pictures decoded and judged. */
export interface Progress {
  readonly stage: 'tokens' | 'pictures';
  readonly done: number;
  readonly total: number;
  /** While tokens are drawn: the first candidate's grid, and how many of its positions are known. Not to be kept. */
  readonly first?: { readonly tokens: Int32Array; readonly known: number };
}

/**
 * Prompt to pictures (Wang et al., arXiv 2203.00386): the prompt's CLIP embedding conditions the transformer, which draws
 * candidates' tokens; each is decoded and judged by the cosine of its CLIP embedding with the prompt's; the best stay.
 * The same request gives the same pictures. What it leaves open is as the model's `generation.json` has it.
 *
 * @param onProgress told after every position and every picture
 * @throws invalid_argument before any work for a request out of bounds; cancelled
 */
export async function generate(
  model: Model,
  request: GenerationRequest,
  onProgress: (progress: Progress) => void = () => undefined,
  options: CallOptions = {},
): Promise<Generation> {
  const { gpt, defaults } = model.parts;
  const { prompt, candidates, pictures, seed, sampling } = validateRequest(
    request,
    gpt.config.vocabularySize,
    defaults,
  );
  const [embedding] = await model.textEncoder.encode([prompt], options);
  if (!embedding) throw new ClipGenError('internal', 'no embedding for the prompt');

  const { tokens } = gpt.config;
  const grids = Array.from({ length: candidates }, () => new Int32Array(tokens));
  let drawn = 0;
  let known = 0;
  for await (const event of model.tokenSampler.sample(embedding, { ...sampling, seed, candidates }, options)) {
    grids[event.candidate]![event.position] = event.token;
    drawn++;
    if (event.candidate === 0) known = event.position + 1;
    if (drawn % candidates !== 0) continue;
    onProgress({ stage: 'tokens', done: drawn, total: tokens * candidates, first: { tokens: grids[0]!, known } });
  }

  const images: RgbImage[] = [];
  const scores: number[] = [];
  for (const grid of grids) {
    const image = await model.pictureDecoder.decode(grid, options);
    const [judged] = await model.imageEncoder.encode([image], options);
    images.push(image);
    scores.push(cosine(embedding, judged!));
    onProgress({ stage: 'pictures', done: images.length, total: candidates });
  }
  const best = rank(scores).slice(0, pictures);
  return {
    prompt,
    seed,
    embedding,
    pictures: best.map((i) => ({ image: images[i]!, score: scores[i]!, candidate: i, tokens: grids[i]! })),
  };
}
