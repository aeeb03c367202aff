import { join } from 'node:path';
import { MAX_TEXT_LENGTH } from '@clip-gen/tokenizer';
import { temporaryFolder } from '@clip-gen/testing';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { generate, type Progress } from './generate.ts';
import { openModel, type Model } from './open-model.ts';
import { writeRandomModel, type ModelConfigs } from './random-model.ts';
import { cosine } from './ranking.ts';
import { tinyModel } from './tiny-model.ts';
import type { TokenEvent, TokenRequest } from './token-sampler.ts';

/** More of what the networks are made of than a tiny model has; the picture is larger than what CLIP looks at. */
const { configs, tokenizer } = tinyModel({ tokens: 64, codebookSize: 40, contextLength: 12, gptWidth: 32 });
const CONFIGS: ModelConfigs = {
  clip: { ...configs.clip, text: { ...configs.clip.text, layers: 2 } },
  vqgan: { ...configs.vqgan, attentionSides: [8] },
  gpt: { ...configs.gpt, layers: 2 },
};

let folder: string;
let model: Model;
beforeAll(async () => {
  folder = join(await temporaryFolder(), 'model');
  await writeRandomModel(folder, CONFIGS, { tokenizer });
  model = await openModel(folder, { threads: 1 });
});
afterAll(() => model.close());

async function grids(embedding: Float32Array, request: TokenRequest): Promise<Map<number, number[]>> {
  const byCandidate = new Map<number, number[]>();
  for await (const { candidate, position, token } of model.tokenSampler.sample(embedding, request)) {
    const grid = byCandidate.get(candidate) ?? [];
    expect(grid).toHaveLength(position); // in order
    grid.push(token);
    byCandidate.set(candidate, grid);
  }
  return byCandidate;
}

describe('generation', () => {
  it('keeps the best pictures, best first, scored as CLIP judges what is returned', async () => {
    const request = { prompt: ' a slice of pizza ', candidates: 6, pictures: 3, seed: 5 };
    const { pictures, embedding, prompt, seed } = await generate(model, request);
    expect({ prompt, seed }).toEqual({ prompt: 'a slice of pizza', seed: 5 });
    expect(cosine(embedding, embedding)).toBeCloseTo(1, 5);
    expect(pictures).toHaveLength(3);
    const all = (await generate(model, { ...request, pictures: 6 })).pictures;
    expect(all.map(({ score }) => score)).toEqual(all.map(({ score }) => score).sort((a, b) => b - a));
    expect(new Set(all.map(({ candidate }) => candidate)).size).toBe(6);
    expect(pictures).toEqual(all.slice(0, 3));
    for (const { image, score, tokens } of pictures) {
      expect(image).toMatchObject({ width: 32, height: 32 });
      expect(image).toEqual(await model.pictureDecoder.decode(tokens));
      const [judged] = await model.imageEncoder.encode([image]);
      expect(score).toBe(cosine(embedding, judged!));
    }
  });

  it('draws as the model says where the request does not', async () => {
    const defaults = { candidates: 3, temperature: 0.7, topK: 5, topP: 0.8, guidance: 2 };
    const own: Model = { ...model, parts: { ...model.parts, defaults } };
    const tokens = async (drawn: Model, request: object): Promise<Int32Array[]> =>
      (await generate(drawn, { prompt: 'pizza', seed: 5, pictures: 3, ...request })).pictures.map((at) => at.tokens);
    const expected = await tokens(model, defaults);
    expect(await tokens(own, {})).toEqual(expected);
    expect(await tokens(own, { candidates: undefined, topK: undefined })).toEqual(expected);
    const plain = { candidates: 3, temperature: 1, topK: 0, topP: 1, guidance: 1 };
    expect(await tokens(own, plain)).toEqual(await tokens(model, plain));
    expect(await tokens(model, plain)).not.toEqual(expected);
    for (const [name, value] of Object.entries(plain).slice(1)) {
      const others = { ...defaults, [name]: value };
      expect(await tokens(own, { [name]: value }), name).toEqual(await tokens(model, others));
    }
    await expect(tokens(own, { pictures: 4 })).rejects.toThrow('pictures must be an integer in [1, 3]');
  });

  it('is a function of the request, whatever else the model does at the same time', async () => {
    const request = { prompt: 'pizza', candidates: 4, pictures: 4, seed: 1 };
    const alone = await generate(model, request);
    const [again, , other] = await Promise.all([
      generate(model, request),
      generate(model, { prompt: 'slice', candidates: 7 }),
      generate(model, { ...request, seed: 2 }),
    ]);
    expect(again).toEqual(alone);
    expect(other.pictures.map(({ tokens }) => tokens)).not.toEqual(alone.pictures.map(({ tokens }) => tokens));
  });

  it('tells how far it is', async () => {
    const seen: Progress[] = [];
    await generate(model, { prompt: 'pizza', candidates: 2 }, (progress) => seen.push(progress));
    expect(seen).toHaveLength(64 + 2);
    expect(seen[0]).toMatchObject({ stage: 'tokens', done: 2, total: 128, first: { known: 1 } });
    expect(seen[63]!.first).toMatchObject({ known: 64, tokens: { length: 64 } });
    expect(seen.at(-1)).toEqual({ stage: 'pictures', done: 2, total: 2 });
  });

  it('stops when it is aborted', async () => {
    const controller = new AbortController();
    const run = generate(model, { prompt: 'pizza', candidates: 2 }, ({ done }) => done === 20 && controller.abort(), {
      signal: controller.signal,
    });
    await expect(run).rejects.toMatchObject({ code: 'cancelled' });
  });

  it.each([
    [{ prompt: '  ' }, 'prompt must be a description in words; got "  "'],
    [{ prompt: '\u0000' }, 'prompt must be a description in words'],
    [{ prompt: 'pizza '.repeat(11) }, 'prompt must be at most 10 tokens long (a word is one or a few); got 11'],
    [{ prompt: 'x'.repeat(200_000) }, `prompt must be at most ${MAX_TEXT_LENGTH} characters long; got 200000`],
    [{ prompt: 'pizza', candidates: 0 }, 'candidates must be an integer in [1, 256]; got 0'],
    [{ prompt: 'pizza', candidates: 257 }, 'candidates must be an integer in [1, 256]; got 257'],
    [
      { prompt: 'pizza', candidates: 2, pictures: 3 },
      'pictures must be an integer in [1, 2], the number of candidates',
    ],
    [{ prompt: 'pizza', seed: 2 ** 53 }, 'seed must be an integer in [0, 2^53); got 9007199254740992'],
    [{ prompt: 'pizza', seed: 0.5 }, 'seed must be an integer in [0, 2^53); got 0.5'],
    [{ prompt: 'pizza', temperature: -1 }, 'temperature must be in [0, 10]; got -1'],
    [{ prompt: 'pizza', topK: 41 }, 'topK must be an integer in [1, 40], or 0 for off; got 41'],
    [{ prompt: 'pizza', topP: 0 }, 'topP must be in (0, 1]; got 0'],
    [{ prompt: 'pizza', guidance: NaN }, 'guidance must be in [0, 50]; got NaN'],
  ])('refuses request %#', async (request, message) => {
    const seen: Progress[] = [];
    await expect(generate(model, request, (progress) => seen.push(progress))).rejects.toThrow(message);
    expect(seen).toEqual([]);
  });
});

describe('tokens', () => {
  const request = { seed: 3, candidates: 5, temperature: 1, topP: 0.9 };
  const embedding = async (): Promise<Float32Array> => (await model.textEncoder.encode(['pizza']))[0]!;

  it.each([1, 2.5, 0])('of a candidate do not depend on the number of candidates (guidance %d)', async (guidance) => {
    const from = await embedding();
    const five = await grids(from, { ...request, guidance });
    expect([...five.keys()]).toEqual([0, 1, 2, 3, 4]);
    expect(new Set([...five.values()].map(String)).size).toBe(5);
    expect(await grids(from, { ...request, guidance, candidates: 1 })).toEqual(new Map([[0, five.get(0)]]));
    const last = { ...request, guidance, candidates: 2, firstCandidate: 3 };
    expect([...(await grids(from, last)).entries()]).toEqual([...five].slice(3));
    const many = await grids(from, { ...request, guidance, candidates: 70 }); // more than one batch of rows
    expect(many.size).toBe(70);
    for (const [candidate, grid] of five) expect(many.get(candidate)).toEqual(grid);
  });

  it('without the condition are those of guidance 0, whatever the prompt', async () => {
    const [pizza, slice] = await model.textEncoder.encode(['pizza', 'slice']);
    const unguided = await grids(pizza!, { ...request, guidance: 0 });
    expect(await grids(slice!, { ...request, guidance: 0 })).toEqual(unguided);
    expect(await grids(new Float32Array(16), { ...request, guidance: 1 })).toEqual(unguided);
    expect(await grids(pizza!, { ...request, guidance: 1 })).not.toEqual(unguided);
  });

  it('stop being drawn when nobody takes them', async () => {
    const taken: TokenEvent[] = [];
    for await (const event of model.tokenSampler.sample(await embedding(), request)) {
      taken.push(event);
      if (taken.length === 7) break;
    }
    expect(taken.map(({ candidate, position }) => [candidate, position])).toEqual([
      [0, 0],
      [1, 0],
      [2, 0],
      [3, 0],
      [4, 0],
      [0, 1],
      [1, 1],
    ]);
  });

  it.each([
    [new Float32Array(15), {}, 'embedding must be of 16 numbers; got 15'],
    [new Float32Array(16).fill(NaN), {}, 'embedding must be finite; got NaN'],
    [new Float32Array(16), { candidates: 0 }, 'candidates must be an integer in [1, 65536]; got 0'],
    [new Float32Array(16), { firstCandidate: -1 }, 'firstCandidate must be an integer in'],
    [new Float32Array(16), { seed: -1 }, 'seed must be an integer in [0, 2^53); got -1'],
  ])('refuse a bad request', async (from, change, message) => {
    await expect(model.tokenSampler.sample(from, { ...request, ...change }).next()).rejects.toThrow(message);
  });
});

describe('pictures', () => {
  it.each([
    [new Int32Array(63), 'tokens must be 64 codes; got 63'],
    [new Int32Array(64).fill(40), 'tokens[0] must be an integer in [0, 40); got 40'],
    [Array.from({ length: 64 }, (_, i) => (i === 9 ? -1 : 0)), 'tokens[9] must be an integer in [0, 40); got -1'],
  ])('are not decoded from other tokens', async (tokens, message) => {
    await expect(model.pictureDecoder.decode(tokens)).rejects.toThrow(message);
  });

  it('of half-precision weights differ by rounding only', async () => {
    const half = join(await temporaryFolder(), 'half');
    await writeRandomModel(half, CONFIGS, { tokenizer, dtype: 'float16' });
    const stored = await openModel(half, { threads: 1 });
    try {
      const tokens = Int32Array.from({ length: 64 }, (_, i) => (i * 7) % 40);
      const [a, b] = [await model.pictureDecoder.decode(tokens), await stored.pictureDecoder.decode(tokens)];
      const differences = a.data.map((value, i) => Math.abs(value - b.data[i]!));
      expect(Math.max(...differences)).toBeLessThanOrEqual(1);
      const [x] = await model.textEncoder.encode(['pizza']);
      const [y] = await stored.textEncoder.encode(['pizza']);
      expect(cosine(x!, y!)).toBeGreaterThan(0.9999);
    } finally {
      await stored.close();
    }
  });
});
