import { ClipGenError, invalidArgument } from '@clip-gen/errors';

/** Largest temperature: past it every row is as good as even. */
export const MAX_TEMPERATURE = 10;
/** Largest guidance scale: past it one token has all the probability. */
export const MAX_GUIDANCE = 50;

/** How a token is drawn from a row of logits. */
export interface SamplingOptions {
  /** Divides the logits; in [0, 10]. 0 takes the largest logit. */
  readonly temperature: number;
  /** Keep this many largest logits; in [1, vocabularySize], or 0 or undefined for all. */
  readonly topK?: number;
  /** Of those, keep the fewest whose probability reaches this; in (0, 1]. Default 1, which keeps all. */
  readonly topP?: number;
  /** Classifier-free guidance scale, in [0, 50]; 1 or undefined is none. */
  readonly guidance?: number;
}

/** Options with every default filled in. */
export type ValidSamplingOptions = Required<SamplingOptions>;

/** Largest vocabulary: an index must fit beside 32 bits of logit in the 53 bits of a float64. */
export const MAX_VOCABULARY_SIZE = 2 ** 21;

/**
 * The options with defaults filled in: all of the vocabulary for topK 0 or undefined, 1 for topP and guidance.
 *
 * @throws invalid_argument for a value out of bounds, naming it
 */
export function validateSampling(options: SamplingOptions, vocabularySize: number): ValidSamplingOptions {
  validateVocabularySize(vocabularySize);
  const { temperature, topK, topP = 1, guidance = 1 } = options;
  // Written so that NaN and what is not a number fail too.
  if (!(temperature >= 0 && temperature <= MAX_TEMPERATURE)) {
    throw invalidArgument('temperature', `in [0, ${MAX_TEMPERATURE}]`, temperature);
  }
  if (topK !== undefined && !(Number.isInteger(topK) && topK >= 0 && topK <= vocabularySize)) {
    throw invalidArgument('topK', `an integer in [1, ${vocabularySize}], or 0 for off`, topK);
  }
  if (!(topP > 0 && topP <= 1)) throw invalidArgument('topP', 'in (0, 1]', topP);
  validateGuidance(guidance);
  return { temperature, topK: topK || vocabularySize, topP, guidance };
}

/** @throws invalid_argument unless it is in [0, 50] */
export function validateGuidance(guidance: number): void {
  if (!(guidance >= 0 && guidance <= MAX_GUIDANCE))
    throw invalidArgument('guidance', `in [0, ${MAX_GUIDANCE}]`, guidance);
}

/** @throws invalid_argument unless it is an integer in [1, 2^21] */
export function validateVocabularySize(vocabularySize: number): void {
  if (!Number.isInteger(vocabularySize) || vocabularySize < 1 || vocabularySize > MAX_VOCABULARY_SIZE) {
    throw invalidArgument('vocabularySize', `an integer in [1, ${MAX_VOCABULARY_SIZE}]`, vocabularySize);
  }
}

/** What a row with a NaN or infinite logit throws. */
export function nonFiniteLogit(index: number, value: number): ClipGenError {
  return new ClipGenError('invalid_argument', `logits must be finite; got ${value} at index ${index}: check the model`);
}
