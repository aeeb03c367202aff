import { invalidArgument } from '@clip-gen/errors';
import {
  MAX_VOCABULARY_SIZE,
  validateSampling,
  type SamplingOptions,
  type ValidSamplingOptions,
} from '@clip-gen/sampling';
import type { GenerationDefaults } from './generation-defaults.ts';

/** What a person asks for. Only the prompt must be given. */
export interface GenerationRequest extends Partial<SamplingOptions> {
  /** What the picture shows, in words that CLIP knows. */
  readonly prompt: string;
  /** Grids to draw and judge, in [1, 256]; by default the model's number, else 16. */
  readonly candidates?: number;
  /** How many of the best to return, in [1, candidates]; 1 by default. */
  readonly pictures?: number;
  /** Integer in [0, 2^53), 0 by default: the same request with the same seed gives the same pictures. */
  readonly seed?: number;
}

/** A request with every default filled in. */
export interface ValidRequest {
  readonly prompt: string;
  readonly candidates: number;
  readonly pictures: number;
  readonly seed: number;
  readonly sampling: ValidSamplingOptions;
}

/** Most candidates of one request. */
export const MAX_REQUEST_CANDIDATES = 256;

/** What a request has unless it or the model says otherwise; top-k and top-p as in the released demo. */
export const REQUEST_DEFAULTS = {
  candidates: 16,
  pictures: 1,
  seed: 0,
  temperature: 1,
  topK: 500,
  topP: 0.95,
  guidance: 1,
} as const;

/**
 * The request with defaults filled in.
 *
 * @param vocabularySize codes K of the model, which topK may not exceed; left out, what holds for every model is checked
 * @param defaults the model's own, before {@link REQUEST_DEFAULTS}
 * @throws invalid_argument naming the first value out of bounds; the prompt's length is the text encoder's to judge
 */
export function validateRequest(
  request: GenerationRequest,
  vocabularySize = MAX_VOCABULARY_SIZE,
  defaults: GenerationDefaults = {},
): ValidRequest {
  const standard = { ...REQUEST_DEFAULTS, topK: Math.min(REQUEST_DEFAULTS.topK, vocabularySize), ...defaults };
  const {
    prompt,
    candidates = standard.candidates,
    pictures = standard.pictures,
    seed = standard.seed,
    temperature = standard.temperature,
    topK = standard.topK,
    topP = standard.topP,
    guidance = standard.guidance,
  } = request;
  if (typeof prompt !== 'string' || prompt.trim() === '') {
    throw invalidArgument('prompt', 'a description in words', prompt);
  }
  if (!Number.isInteger(candidates) || candidates < 1 || candidates > MAX_REQUEST_CANDIDATES) {
    throw invalidArgument('candidates', `an integer in [1, ${MAX_REQUEST_CANDIDATES}]`, candidates);
  }
  if (!Number.isInteger(pictures) || pictures < 1 || pictures > candidates) {
    throw invalidArgument('pictures', `an integer in [1, ${candidates}], the number of candidates`, pictures);
  }
  if (!Number.isSafeInteger(seed) || seed < 0) throw invalidArgument('seed', 'an integer in [0, 2^53)', seed);
  const sampling = validateSampling({ temperature, topK, topP, guidance }, vocabularySize);
  return { prompt: prompt.trim(), candidates, pictures, seed, sampling };
}
