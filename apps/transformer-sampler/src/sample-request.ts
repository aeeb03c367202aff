import type { SampleRequest, SamplingOptions as SamplingMessage } from '@clip-gen/contracts';
import { invalidArgument } from '@clip-gen/errors';
import type { TokenRequest, TokenSampler, ValidTokenRequest } from '@clip-gen/generation';

/** Conditions of one call at most, by the contract. */
const MAX_CONDITIONS = 16;
/** How far from 1 the length of a unit vector may be: what rounding to float32, or to decimals on the way, leaves. */
const UNIT_TOLERANCE = 0.01;

/** What is drawn unless the request says otherwise. */
export type SamplingDefaults = Readonly<Required<{ [K in keyof SamplingMessage]: number }>>;

/** What a service is ready to do. */
export interface SampleLimits {
  /** Grids of one call, over all its conditions. */
  readonly maxGrids: number;
}

/** A request that may be worked on. */
export interface ReadSampleRequest {
  /** float32 (E) each. */
  readonly conditions: readonly Float32Array[];
  readonly tokens: TokenRequest & ValidTokenRequest;
  /** Positions that an event gathers. */
  readonly positionsPerEvent: number;
}

/**
 * A request, held against the contract, this service's limits and the model, before any work.
 *
 * @throws invalid_argument naming the field
 */
export function readSampleRequest(
  request: SampleRequest,
  sampler: TokenSampler,
  defaults: SamplingDefaults,
  { maxGrids }: SampleLimits,
): ReadSampleRequest {
  const { seed, sampling, firstCandidate } = request;
  const candidates = request.candidates || 1;
  const count = request.conditions.length;
  if (count < 1 || count > MAX_CONDITIONS) {
    throw invalidArgument('conditions', `1 to ${MAX_CONDITIONS} embeddings`, count);
  }
  if (candidates > maxGrids) throw invalidArgument('candidates', `in [1, ${maxGrids}]`, candidates);
  if (count * candidates > maxGrids) {
    throw invalidArgument('conditions · candidates', `at most ${maxGrids}`, count * candidates);
  }
  if (firstCandidate >= 2 ** 31) throw invalidArgument('firstCandidate', 'in [0, 2^31)', firstCandidate);
  if (seed < 0n || seed >= 1n << 53n) throw invalidArgument('seed', 'an integer in [0, 2^53)', seed);
  if (sampling?.topK === 0) throw invalidArgument('topK', `in [1, ${sampler.part.config.vocabularySize}]`, 0);
  const width = sampler.part.config.conditionSize;
  const conditions = request.conditions.map(({ values }, i) => readUnitVector(values, `conditions[${i}]`, width));
  const asked: TokenRequest = {
    seed: Number(seed),
    candidates,
    firstCandidate,
    temperature: sampling?.temperature ?? defaults.temperature,
    topK: sampling?.topK ?? defaults.topK,
    topP: sampling?.topP ?? defaults.topP,
    guidance: sampling?.guidance ?? defaults.guidance,
  };
  const valid = sampler.validate(conditions, asked);
  return { conditions, tokens: { ...valid, ...valid.sampling }, positionsPerEvent: request.positionsPerEvent || 1 };
}

function readUnitVector(values: readonly number[], name: string, width: number): Float32Array {
  if (values.length !== width) throw invalidArgument(`${name}.values`, `${width} numbers`, values.length);
  const vector = Float32Array.from(values);
  const length = Math.sqrt(vector.reduce((sum, value) => sum + value * value, 0));
  if (!(Math.abs(length - 1) <= UNIT_TOLERANCE)) throw invalidArgument(name, 'of length 1', length);
  return vector;
}
