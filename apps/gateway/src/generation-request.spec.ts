import { readFile } from 'node:fs/promises';
import { MAX_REQUEST_CANDIDATES, REQUEST_DEFAULTS } from '@clip-gen/generation';
import { MAX_GUIDANCE, MAX_TEMPERATURE } from '@clip-gen/sampling';
import { describe, expect, it } from 'vitest';
import {
  candidatesOf,
  checkRequest,
  FALLBACK_CANDIDATES,
  MAX_CANDIDATES,
  MAX_PARTIALS,
  MAX_PICTURES,
  MAX_PROMPT_CHARACTERS,
  type RequestDraft,
} from './generation-request.ts';
import { CONTRACT_FIELDS } from './grpc-door.ts';
import { openApiDocument } from './http/openapi.ts';

const LIMITS = { maxCandidates: 64, decoders: ['vqgan', 'preview'], codebookSize: 512 };
const check = (draft: Partial<RequestDraft>) => {
  return checkRequest({ prompt: 'a red apple', encoding: { format: 'png' }, ...draft }, LIMITS, CONTRACT_FIELDS);
};

describe('a request', () => {
  it('gets every default', () => {
    const { seed, ...rest } = check({ prompt: '  a red apple ' });
    expect(Number.isInteger(seed) && seed >= 0 && seed < 2 ** 32).toBe(true);
    expect(rest).toEqual({
      prompt: 'a red apple',
      pictures: 1,
      candidates: undefined,
      sampling: {},
      decoder: 'vqgan',
      partials: 0,
      partialDecoder: undefined,
      encoding: { format: 'png' },
    });
    expect(check({}).seed).not.toBe(seed);
  });

  it('keeps what is given, at the bounds', () => {
    const given = { n: 10, candidates: 64, seed: 2n ** 53n - 1n, temperature: 10, topK: 512, topP: 1, guidance: 50 };
    expect(check({ ...given, decoder: 'preview', partials: 3, partialDecoder: 'vqgan' })).toMatchObject({
      pictures: 10,
      candidates: 64,
      seed: 2 ** 53 - 1,
      sampling: { temperature: 10, topK: 512, topP: 1, guidance: 50 },
      decoder: 'preview',
      partials: 3,
      partialDecoder: 'vqgan',
    });
    expect(check({ partialDecoder: '' }).partialDecoder).toBeUndefined();
    expect(check({ prompt: '🍎'.repeat(1000) }).prompt).toHaveLength(2000);
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
    [{ partialDecoder: 'x' }, 'partial_decoder', 'partial_decoder must be one of vqgan, preview; got "x"'],
  ])('is refused %#', (draft, field, message) => {
    expect(() => check(draft)).toThrow(expect.objectContaining({ code: 'invalid_argument', field, message }));
  });

  it('draws as many as it says, else as the model says, within bounds and at least what it keeps', () => {
    const drawn = (draft: Partial<RequestDraft>, usual: number): number => candidatesOf(check(draft), usual, 64);
    expect(drawn({ candidates: 3 }, 16)).toBe(3);
    expect(drawn({}, 16)).toBe(16);
    expect(drawn({ n: 7 }, 5)).toBe(7);
    expect(drawn({}, 200)).toBe(64);
    const few = { ...LIMITS, maxCandidates: 2 };
    expect(() => checkRequest({ prompt: 'a', n: 3, encoding: { format: 'png' } }, few, CONTRACT_FIELDS)).toThrow(
      'n must be an integer in [1, 2]; got 3',
    );
  });
});

describe('the ranges that documents tell', () => {
  it('are those that are checked: contract', async () => {
    const comment = async (file: string, field: string): Promise<string> => {
      const text = await readFile(new URL(`../../../proto/clipgen/v1/${file}.proto`, import.meta.url), 'utf8');
      return new RegExp(`((?: *//.*\\n)+) *[a-z0-9_. ]+ ${field} = \\d+;`).exec(text)?.[1] ?? 'no such field';
    };
    expect(await comment('tokens', 'temperature')).toContain(`in [0, ${MAX_TEMPERATURE}]`);
    expect(await comment('tokens', 'guidance')).toContain(`in [0, ${MAX_GUIDANCE}]`);
    expect(await comment('tokens', 'top_p')).toContain('in (0, 1]');
    expect(await comment('image_generation', 'n')).toContain(`in [1, ${MAX_PICTURES}]`);
    expect(await comment('image_generation', 'candidates')).toContain(`in [n, ${MAX_CANDIDATES}]`);
    expect(await comment('image_generation', 'partial_images')).toContain(`in [0, ${MAX_PARTIALS}]`);
    const most = MAX_PROMPT_CHARACTERS.toLocaleString('en');
    expect(await comment('image_generation', 'prompt')).toContain(`1 to ${most} characters`);
    expect(await comment('transformer_sampler', 'candidates')).toContain(`in [1, ${MAX_CANDIDATES}]`);
    expect(await comment('transformer_sampler', 'default_candidates')).toContain(`in [1, ${MAX_CANDIDATES}]`);
  });

  it('are those that are checked: OpenAPI', () => {
    const { components } = openApiDocument() as {
      components: { schemas: { ImagesRequest: { properties: Record<string, object> } } };
    };
    expect(components.schemas.ImagesRequest.properties).toMatchObject({
      temperature: { minimum: 0, maximum: MAX_TEMPERATURE },
      guidance_scale: { minimum: 0, maximum: MAX_GUIDANCE },
      top_p: { exclusiveMinimum: 0, maximum: 1 },
      n: { minimum: 1, maximum: MAX_PICTURES },
      candidates: { minimum: 1, maximum: MAX_CANDIDATES },
      partial_images: { minimum: 0, maximum: MAX_PARTIALS },
    });
  });

  it('are those of a model in one process', () => {
    expect(MAX_CANDIDATES).toBe(MAX_REQUEST_CANDIDATES);
    expect(FALLBACK_CANDIDATES).toBe(REQUEST_DEFAULTS.candidates);
  });
});
