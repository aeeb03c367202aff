import { randomInt } from 'node:crypto';
import { MAX_GUIDANCE, MAX_TEMPERATURE, MAX_VOCABULARY_SIZE } from '@clip-gen/sampling';
import { invalidField } from './invalid-field.ts';
import type { PictureEncoding } from './picture-encoding.ts';

/** How tokens are drawn; what is undefined is the sampler's default. */
export interface Sampling {
  /** In [0, MAX_TEMPERATURE]. */
  readonly temperature?: number;
  /** In [1, K]. */
  readonly topK?: number;
  /** In (0, 1]. */
  readonly topP?: number;
  /** In [0, MAX_GUIDANCE]. */
  readonly guidance?: number;
}

/** What a client asks for, as its door understood it; nothing is checked yet but the types. */
export interface RequestDraft extends Sampling {
  readonly prompt: string;
  readonly n?: number;
  readonly candidates?: number;
  /** An integer, or a uint64 of the wire. */
  readonly seed?: number | bigint;
  readonly decoder?: string;
  readonly partials?: number;
  readonly partialDecoder?: string;
  readonly encoding: PictureEncoding;
}

/** A request that is in order, with the gateway's defaults filled in; those of the model are the sampler's part. */
export interface GenerationRequest {
  readonly prompt: string;
  /** Pictures to keep, in [1, 10] and at most `candidates`. */
  readonly pictures: number;
  /** Pictures to draw and judge; undefined: what {@link candidatesOf} makes of the model's number. */
  readonly candidates: number | undefined;
  /** In [0, 2^53). */
  readonly seed: number;
  readonly sampling: Sampling;
  readonly decoder: string;
  /** Partial pictures of the first candidate, in [0, 3]. */
  readonly partials: number;
  /** Who makes them; undefined: the preview of `decoder` where there is one, else `decoder`. */
  readonly partialDecoder: string | undefined;
  readonly encoding: PictureEncoding;
}

/** What a request may ask for. */
export interface RequestLimits {
  readonly maxCandidates: number;
  /** The default first. */
  readonly decoders: readonly string[];
  /** Codes K of the sampler's model; undefined while it was never seen. */
  readonly codebookSize?: number;
}

/** How a door calls the fields, for its errors. */
export type FieldNames = Readonly<Record<Exclude<keyof RequestDraft, 'encoding'>, string>>;

export const MAX_PROMPT_CHARACTERS = 1000;
export const MAX_PICTURES = 10;
export const MAX_PARTIALS = 3;
/** Most candidates of a request, by the contract. */
export const MAX_CANDIDATES = 256;
/** Drawn where neither the request nor the gateway's settings nor the sampler say how many. */
export const FALLBACK_CANDIDATES = 16;

/**
 * The request with the gateway's defaults filled in. A seed that is not given is drawn at random, in [0, 2^32).
 *
 * @throws InvalidField for the first value out of bounds
 */
export function checkRequest(draft: RequestDraft, limits: RequestLimits, names: FieldNames): GenerationRequest {
  const { n = 1, partials = 0, encoding } = draft;
  const { maxCandidates, decoders } = limits;
  const prompt = draft.prompt.trim();
  if (prompt === '') throw invalidField(names.prompt, 'a description in words', draft.prompt);
  if (/\p{Surrogate}/u.test(prompt)) throw invalidField(names.prompt, 'well-formed Unicode', 'half a character');
  const characters = [...prompt].length; // code points, as the text encoder counts
  if (characters > MAX_PROMPT_CHARACTERS) {
    throw invalidField(names.prompt, `at most ${MAX_PROMPT_CHARACTERS} characters long`, characters);
  }
  integer(names.n, n, 1, Math.min(MAX_PICTURES, maxCandidates));
  const { candidates } = draft;
  if (candidates !== undefined) integer(names.candidates, candidates, 1, maxCandidates);
  if (candidates !== undefined && candidates < n)
    throw invalidField(names.candidates, `at least ${n}, the pictures to keep`, candidates);
  integer(names.partials, partials, 0, MAX_PARTIALS);
  const seed = checkSeed(names.seed, draft.seed);
  const sampling = checkSampling(draft, names, limits.codebookSize);
  const known = (name: string, decoder: string): string => {
    if (!decoders.includes(decoder)) throw invalidField(name, `one of ${decoders.join(', ')}`, decoder);
    return decoder;
  };
  const decoder = known(names.decoder, draft.decoder || decoders[0]!);
  const partialDecoder = draft.partialDecoder ? known(names.partialDecoder, draft.partialDecoder) : undefined;
  return { prompt, pictures: n, candidates, seed, sampling, decoder, partials, partialDecoder, encoding };
}

/**
 * How many pictures are drawn and judged for a request.
 *
 * @param usual of the gateway's settings or the model, for a request that does not say
 */
export function candidatesOf(
  { candidates, pictures }: Pick<GenerationRequest, 'candidates' | 'pictures'>,
  usual: number,
  maxCandidates: number,
): number {
  return candidates ?? Math.min(maxCandidates, Math.max(usual, pictures));
}

function checkSeed(name: string, given: number | bigint | undefined): number {
  if (given === undefined) return randomInt(2 ** 32);
  const seed = Number(given);
  if (!Number.isSafeInteger(seed) || seed < 0) throw invalidField(name, 'an integer in [0, 2^53)', given);
  return seed;
}

function checkSampling(
  { temperature, topK, topP, guidance }: Sampling,
  names: FieldNames,
  codebookSize = MAX_VOCABULARY_SIZE,
): Sampling {
  within(names.temperature, temperature, 0, MAX_TEMPERATURE);
  if (topK !== undefined) integer(names.topK, topK, 1, codebookSize);
  if (topP !== undefined && !(topP > 0 && topP <= 1)) throw invalidField(names.topP, 'in (0, 1]', topP);
  within(names.guidance, guidance, 0, MAX_GUIDANCE);
  return { temperature, topK, topP, guidance };
}

function integer(name: string, value: number, least: number, most: number): void {
  if (!Number.isInteger(value) || value < least || value > most) {
    throw invalidField(name, `an integer in [${least}, ${most}]`, value);
  }
}

function within(name: string, value: number | undefined, least: number, most: number): void {
  // Written so that NaN fails too.
  if (value !== undefined && !(value >= least && value <= most)) {
    throw invalidField(name, `in [${least}, ${most}]`, value);
  }
}
