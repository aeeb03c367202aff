import { readFile } from 'node:fs/promises';
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { temporaryFolder } from '@clip-gen/testing';
import { createClipTokenizer, cutVocabulary } from '@clip-gen/tokenizer';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { openModel, type Model } from './open-model.ts';
import { writeRandomModel, type ModelConfigs } from './random-model.ts';
import type { TokenEvent } from './token-sampler.ts';
import { hashWeights } from './weights-hash.ts';

const { tokenizer } = cutVocabulary(createClipTokenizer(), ['a slice of pizza'], 600);

/** Odd widths on purpose: kernels treat what is left over differently. */
const CONFIGS: ModelConfigs = {
  clip: {
    model: 'clip',
    embeddingSize: 20,
    vision: { imageSize: 24, patchSize: 8, width: 36, layers: 2, heads: 3 },
    text: { contextLength: 10, vocabularySize: tokenizer.vocabularySize, width: 36, layers: 2, heads: 3 },
  },
  vqgan: {
    model: 'vqgan',
    imageSize: 16,
    patchSize: 2,
    channels: 12,
    multipliers: [1, 2],
    blocks: 1,
    attentionSides: [4],
    groups: 4,
    codebookSize: 33,
    codeSize: 6,
  },
  gpt: { model: 'gpt', tokens: 16, vocabularySize: 33, conditionSize: 20, width: 40, layers: 2, heads: 5 },
};

let model: Model;
beforeAll(async () => {
  const folder = join(await temporaryFolder(), 'model');
  await writeRandomModel(folder, CONFIGS, { tokenizer });
  model = await openModel(folder, { threads: 2 });
});
afterAll(() => model.close());

const numbers = (length: number, bound: number, from = 0): number[] =>
  Array.from({ length }, (_, i) => ((i + from) * 7919) % bound);

it('gives a prompt the embedding that it has alone', async () => {
  const prompts = Array.from(
    { length: 37 },
    (_, i) => ['pizza', 'a slice', 'slice of a pizza'][i % 3]! + ' a'.repeat(i % 5),
  );
  const together = await model.textEncoder.encode(prompts);
  expect(together).toHaveLength(37);
  for (const [i, prompt] of prompts.entries()) expect(await model.textEncoder.encode([prompt])).toEqual([together[i]]);
});

it('gives a picture the embedding that it has alone', async () => {
  const images = Array.from({ length: 19 }, (_, i) => {
    const side = 24 + (i % 3);
    return { width: side, height: side, data: Uint8Array.from(numbers(side * side * 3, 251, i)) };
  });
  const together = await model.imageEncoder.encode(images);
  for (const [i, image] of images.entries()) expect(await model.imageEncoder.encode([image])).toEqual([together[i]]);
});

it('gives a grid the picture that it has alone', async () => {
  const grids = Array.from({ length: 19 }, (_, i) => numbers(16, 33, i * 5));
  const together = await model.pictureDecoder.decodeAll(grids);
  expect(together).toHaveLength(19);
  for (const [i, grid] of grids.entries()) expect(await model.pictureDecoder.decode(grid)).toEqual(together[i]);
  expect(await model.pictureDecoder.decodeAll([])).toEqual([]);
  await expect(model.pictureDecoder.decodeAll([grids[0]!, [1]])).rejects.toThrow('tokens must be 16 codes; got 1');
});

it.each([1, 2])('gives a condition the tokens that it has alone (guidance %d)', async (guidance) => {
  const conditions = await model.textEncoder.encode(['pizza', 'a slice', 'of']);
  const request = { seed: 9, candidates: 30, firstCandidate: 5, temperature: 1, guidance };
  const key = (condition: number, { candidate, position }: Omit<TokenEvent, 'token'>) =>
    `${condition} ${candidate} ${position}`;
  const drawn = new Map<string, number>();
  for await (const steps of model.tokenSampler.sampleSteps(conditions, request)) {
    expect(new Set(steps.map(({ position }) => position)).size).toBe(1);
    for (const { condition, firstCandidate, position, tokens } of steps) {
      tokens.forEach((token, i) => drawn.set(key(condition, { candidate: firstCandidate + i, position }), token));
    }
  }
  expect(drawn.size).toBe(3 * 30 * 16);
  for (const [condition, embedding] of conditions.entries()) {
    for await (const event of model.tokenSampler.sample(embedding, request)) {
      expect(drawn.get(key(condition, event))).toBe(event.token);
    }
  }
  await expect(model.tokenSampler.sampleSteps([], request).next()).rejects.toThrow('conditions must be at least one');
  const bad = [conditions[0]!, new Float32Array(19)];
  await expect(model.tokenSampler.sampleSteps(bad, request).next()).rejects.toThrow(
    'conditions[1] must be of 20 numbers',
  );
});

it('tells weights apart by their hash', async () => {
  const { gpt, clip } = model.parts;
  const bytes = await readFile(join(gpt.folder, 'model.safetensors'));
  expect(await hashWeights(gpt)).toBe(createHash('sha256').update(bytes).digest('hex'));
  expect(await hashWeights(clip)).not.toBe(await hashWeights(gpt));
});
