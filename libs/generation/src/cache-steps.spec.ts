import { cp, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { cacheNames, cacheShape, decodeStepGraph, type CacheSteps, type GptConfig } from '@clip-gen/gpt';
import { initialize } from '@clip-gen/nn';
import { RandomStream } from '@clip-gen/rng';
import { readSafetensors, writeSafetensors } from '@clip-gen/safetensors';
import { emptyTensor, tensor, type Tensor } from '@clip-gen/tensor';
import { temporaryFolder } from '@clip-gen/testing';
import { beforeAll, describe, expect, it } from 'vitest';
import { CACHE_FILE, measureCacheSteps, openCacheSteps, writeCacheSteps } from './cache-steps.ts';
import { createPartSession } from './model-part.ts';
import { gptParameters, openGptPart, type GptPart } from './model-parts.ts';
import { DecodingBatch } from './token-sampler-batch.ts';
import { TokenSampler } from './token-sampler.ts';
import { hashWeights } from './weights-hash.ts';

/** More positions than there is room for at first. */
const CONFIG: GptConfig = {
  ...{ model: 'gpt', tokens: 40, vocabularySize: 24, conditionSize: 16, layers: 2, heads: 2 },
  width: 32,
};
const ENGINE = { threads: 2 };
let plain: GptPart;
let steps: CacheSteps;

beforeAll(async () => {
  const folder = await temporaryFolder();
  const weights = initialize(
    gptParameters(CONFIG).map((spec) => ({ ...spec, initializer: { kind: 'uniform', bound: 0.3 } as const })),
    3,
  );
  await writeSafetensors(join(folder, 'model.safetensors'), weights);
  await writeFile(join(folder, 'config.json'), JSON.stringify(CONFIG));
  plain = await openGptPart(folder);
  steps = await measureCacheSteps(plain, ENGINE);
});

/** A copy of the part, with the steps beside it. */
async function rounded(change?: (steps: Map<string, Float32Array>) => void): Promise<string> {
  const folder = join(await temporaryFolder(), 'gpt');
  await cp(plain.folder, folder, { recursive: true });
  const changed = new Map([...steps].map(([name, data]) => [name, data.slice()]));
  change?.(changed);
  await writeCacheSteps(folder, changed);
  return folder;
}

/** Rows of random conditions and tokens, position by position: the logits of all. */
async function allLogits(type: 'float32' | 'int8', rows: number): Promise<Float32Array[]> {
  const cacheSteps = type === 'int8' ? steps : undefined;
  const session = await createPartSession(plain, decodeStepGraph(CONFIG, { room: 'P', cacheSteps }).graph, ENGINE);
  const batch = new DecodingBatch(session, CONFIG, rows, type);
  const random = new RandomStream(2);
  for (let i = 0; i < batch.conditions.length; i++) batch.conditions[i] = random.normal() / 4;
  const logits: Float32Array[] = [];
  for (let position = 0; position < CONFIG.tokens; position++) {
    await batch.step();
    for (let row = 0; row < rows; row++) {
      logits.push(batch.logits(row).slice());
      batch.tokens[row] = (position * 7 + row * 5) % CONFIG.vocabularySize;
    }
  }
  await session.close();
  return logits;
}

describe('a batch whose cache grows', () => {
  it.each(['float32', 'int8'] as const)('gives, bit for bit, the logits of all room at once: %s', async (type) => {
    const cacheSteps = type === 'int8' ? steps : undefined;
    const session = await createPartSession(plain, decodeStepGraph(CONFIG, { cacheSteps }).graph, ENGINE);
    const random = new RandomStream(2);
    const condition = tensor(
      'float32',
      [2, 16],
      Float32Array.from({ length: 32 }, () => random.normal() / 4),
    );
    const cache = cacheNames(CONFIG).map((name) => [name, emptyTensor(type, cacheShape(CONFIG, 2))] as const);
    const into = Object.fromEntries(cache.map(([name, data]) => [`present.${name}`, data]));
    const past = Object.fromEntries(cache.map(([name, data]) => [`past.${name}`, data]));
    const token = emptyTensor('int32', [2]);
    const expected: Float32Array[] = [];
    for (let at = 0; at < CONFIG.tokens; at++) {
      const position = tensor('int32', [2], Int32Array.of(at, at));
      const feeds = { ...past, condition, token, position, total: tensor('int32', [1], Int32Array.of(at + 1)) };
      const { logits } = await session.run(feeds, { into });
      for (const row of [0, 1]) {
        expected.push((logits!.data as Float32Array).slice(row * 24, (row + 1) * 24));
        token.data[row] = (at * 7 + row * 5) % 24;
      }
    }
    await session.close();
    expect(await allLogits(type, 2)).toEqual(expected);
  });
});

describe('keys and values in 8 bits', () => {
  it('predict what those in float32 predict', async () => {
    const [wide, narrow] = [await allLogits('float32', 2), await allLogits('int8', 2)];
    const largest = Math.max(...wide.map((row) => Math.max(...row.map(Math.abs))));
    let error = 0;
    for (const [i, row] of narrow.entries()) {
      for (const [k, logit] of row.entries()) error = Math.max(error, Math.abs(logit - wide[i]![k]!));
    }
    expect(error).toBeLessThan(0.02 * largest);
    expect(error).toBeGreaterThan(0);
  });

  it('are what a sampler keeps where there are steps', async () => {
    const without = await TokenSampler.open(plain, ENGINE);
    expect(without.cacheType).toBe('float32');
    await without.close();
    const part = await openGptPart(await rounded());
    const sampler = await TokenSampler.open(part, ENGINE);
    expect(sampler.cacheType).toBe('int8');
    const draw = async (candidates: number): Promise<string[]> => {
      const drawn: string[] = [];
      const request = { seed: 1, candidates, temperature: 1 };
      for await (const { candidate, position, token } of sampler.sample(new Float32Array(16).fill(0.25), request)) {
        if (candidate === 0) drawn.push(`${position}: ${token}`);
      }
      return drawn;
    };
    const alone = await draw(1);
    expect(alone).toHaveLength(40);
    for (const candidates of [2, 3, 70]) expect(await draw(candidates)).toEqual(alone);
    expect(await Promise.all([draw(1), draw(4), draw(5)])).toEqual([alone, alone, alone]);
    await sampler.close();
    expect(await hashWeights(part)).not.toBe(await hashWeights(plain));
  });
});

describe('the steps', () => {
  it('leave room for more than was seen, and are the same every time', async () => {
    expect(await measureCacheSteps(plain, ENGINE)).toEqual(steps);
    const session = await createPartSession(plain, decodeStepGraph(CONFIG, { room: 'P' }).graph, ENGINE);
    const batch = new DecodingBatch(session, CONFIG, 1, 'float32');
    batch.conditions[3] = 1;
    for (let position = 0; position < CONFIG.tokens; position++) {
      await batch.step();
      batch.tokens[0] = position % CONFIG.vocabularySize;
    }
    await session.close();
    for (const [name, { data, shape }] of batch.cache) {
      const [, , room, width] = shape as [number, number, number, number];
      const own = steps.get(name)!;
      const beyond = Array.from(data as Float32Array, (value, i) => {
        return Math.abs(value) / (127 * own[Math.floor(i / (room * width)) * width + (i % width)]!);
      });
      expect(Math.max(...beyond)).toBeLessThan(1);
    }
  });

  it('tell how far measuring is, and stop when told', async () => {
    const seen: number[] = [];
    const controller = new AbortController();
    const note = (done: number, total: number): void => {
      expect(total).toBe(40);
      if (seen.push(done) === 5) controller.abort();
    };
    await expect(measureCacheSteps(plain, ENGINE, { note, signal: controller.signal })).rejects.toMatchObject({
      code: 'cancelled',
    });
    expect(seen).toEqual([1, 2, 3, 4, 5]);
  });

  it('come back from their file', async () => {
    expect(await openCacheSteps(plain.folder, CONFIG)).toBeUndefined();
    expect(await openCacheSteps(await rounded(), CONFIG)).toEqual(steps);
  });

  it.each<[string, (steps: Map<string, Float32Array>) => void, string]>([
    ['lack a tensor', (all) => all.delete('values.1'), 'must hold values.1 of float32 [32]; got none'],
    ['have one too many', (all) => all.set('keys.2', new Float32Array(32).fill(1)), 'the 4 tensors'],
    [
      'are too few',
      (all) => all.set('keys.0', new Float32Array(31).fill(1)),
      'keys.0 of float32 [32]; got float32 [31]',
    ],
    ['hold a zero', (all) => all.get('keys.1')!.fill(0, 7, 8), 'keys.1 must be of positive numbers; got 0'],
    ['hold no number', (all) => all.get('keys.1')!.fill(NaN, 7, 8), 'must be of positive numbers; got NaN'],
  ])('that %s are refused', async (_, change, message) => {
    await expect(TokenSampler.open(await openGptPart(await rounded(change)), ENGINE)).rejects.toMatchObject({
      code: 'data_corrupt',
      message: expect.stringContaining(message),
    });
  });

  it('of other weights are refused', async () => {
    const folder = await rounded();
    const weights = await readSafetensors(join(folder, 'model.safetensors'));
    const bias = [...weights.values()].find(({ shape }) => shape.length === 1)!;
    (bias.data as Float32Array)[0]! += 1e-3;
    await writeSafetensors(join(folder, 'model.safetensors'), weights);
    await expect(TokenSampler.open(await openGptPart(folder), ENGINE)).rejects.toMatchObject({
      code: 'data_corrupt',
      message: `${join(folder, CACHE_FILE)} was measured with other weights than the model.safetensors beside it; quantise the model anew, or leave the file out`,
    });
  });

  it('of another type or cut short are refused', async () => {
    const folder = await rounded();
    const path = join(folder, CACHE_FILE);
    const bytes = await readFile(path);
    await writeFile(path, bytes.subarray(0, bytes.length - 1));
    await expect(openCacheSteps(folder, CONFIG)).rejects.toMatchObject({ code: 'data_corrupt' });
    await rm(path);
    const wrong: [string, Tensor][] = [...steps.keys()].map((name) => [name, emptyTensor('float64', [32])]);
    await writeSafetensors(path, wrong);
    await expect(openCacheSteps(folder, CONFIG)).rejects.toThrow('got float64 [32]');
  });
});
