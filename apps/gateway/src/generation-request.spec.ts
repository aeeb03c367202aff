import { MAX_REQUEST_CANDIDATES, REQUEST_DEFAULTS, validateRequest } from '@clip-gen/generation';
import { describe, expect, it } from 'vitest';
import { GATEWAY_SETTINGS } from './config.ts';
import {
  checkRequest,
  MAX_CODEBOOK_SIZE,
  MAX_GUIDANCE,
  MAX_TEMPERATURE,
  type FieldNames,
  type RequestDraft,
} from './generation-request.ts';

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
const LIMITS = { defaultCandidates: 4, maxCandidates: 64, decoders: ['vqgan', 'preview'], codebookSize: 512 };
const check = (draft: Partial<RequestDraft>) => {
  return checkRequest({ prompt: 'a red apple', encoding: { format: 'png' }, ...draft }, LIMITS, NAMES);
};

describe('a request', () => {
  it('gets every default', () => {
    const { seed, ...rest } = check({ prompt: '  a red apple ' });
    expect(Number.isInteger(seed) && seed >= 0 && seed < 2 ** 32).toBe(true);
    expect(rest).toEqual({
      prompt: 'a red apple',
      pictures: 1,
      candidates: 4,
      sampling: {},
      decoder: 'vqgan',
      partials: 0,
      encoding: { format: 'png' },
    });
    expect(check({}).seed).not.toBe(seed);
  });

  it('keeps what is given, at the bounds', () => {
    const given = { n: 10, candidates: 64, seed: 2n ** 53n - 1n, temperature: 10, topK: 512, topP: 1, guidance: 50 };
    expect(check({ ...given, decoder: 'preview', partials: 3 })).toMatchObject({
      pictures: 10,
      candidates: 64,
      seed: 2 ** 53 - 1,
      sampling: { temperature: 10, topK: 512, topP: 1, guidance: 50 },
      decoder: 'preview',
      partials: 3,
    });
    expect(check({ prompt: '🍎'.repeat(1000) }).prompt).toHaveLength(2000);
    expect(check({ n: 7 }).candidates).toBe(7);
    expect(check({ seed: 0, temperature: 0, guidance: 0 })).toMatchObject({ seed: 0 });
  });

  it.each<[Partial<RequestDraft>, string, string]>([
    [{ prompt: ' ' }, 'prompt', 'prompt must be a description in words; got " "'],
    [{ prompt: 'x'.repeat(1001) }, 'prompt', 'prompt must be at most 1000 characters long; got 1001'],
    [{ n: 0 }, 'n', 'n must be an integer in [1, 10]; got 0'],
    [{ n: 11 }, 'n', 'n must be an integer in [1, 10]; got 11'],
    [{ candidates: 65 }, 'candidates', 'candidates must be an integer in [1, 64]; got 65'],
    [{ candidates: 2, n: 3 }, 'candidates', 'candidates must be at least 3, the pictures to keep; got 2'],
    [{ seed: 2n ** 53n }, 'seed', 'seed must be an integer in [0, 2^53); got 9007199254740992'],
    [{ seed: 0.5 }, 'seed', 'seed must be an integer in [0, 2^53); got 0.5'],
    [{ temperature: NaN }, 'sampling.temperature', 'sampling.temperature must be in [0, 10]; got NaN'],
    [{ topK: 513 }, 'sampling.top_k', 'sampling.top_k must be an integer in [1, 512]; got 513'],
    [{ topK: 0 }, 'sampling.top_k', 'sampling.top_k must be an integer in [1, 512]; got 0'],
    [{ topP: 0 }, 'sampling.top_p', 'sampling.top_p must be in (0, 1]; got 0'],
    [{ guidance: 51 }, 'sampling.guidance', 'sampling.guidance must be in [0, 50]; got 51'],
    [{ partials: 4 }, 'partial_images', 'partial_images must be an integer in [0, 3]; got 4'],
    [{ decoder: 'other' }, 'decoder', 'decoder must be one of vqgan, preview; got "other"'],
  ])('is refused %#', (draft, field, message) => {
    expect(() => check(draft)).toThrow(expect.objectContaining({ code: 'invalid_argument', field, message }));
  });

  it('has the bounds and the number of candidates that it has in one process', () => {
    const { defaultCandidates, maxCandidates } = GATEWAY_SETTINGS.declarations;
    expect(defaultCandidates.default).toBe(REQUEST_DEFAULTS.candidates);
    expect(maxCandidates.default).toBe(MAX_REQUEST_CANDIDATES);
    const most = { temperature: MAX_TEMPERATURE, guidance: MAX_GUIDANCE, topK: MAX_CODEBOOK_SIZE };
    validateRequest({ prompt: 'a red apple', ...most });
    for (const [name, value] of Object.entries(most)) {
      expect(() => validateRequest({ prompt: 'a red apple', [name]: value + 1 })).toThrow(`${name} must be`);
    }
  });
});
