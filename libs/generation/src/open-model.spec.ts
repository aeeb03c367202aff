import { cp, mkdir, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { readSafetensors, writeSafetensors } from '@clip-gen/safetensors';
import { emptyTensor, type Tensor } from '@clip-gen/tensor';
import { temporaryFolder } from '@clip-gen/testing';
import { createClipTokenizer, cutVocabulary, tokenizerToJson } from '@clip-gen/tokenizer';
import { beforeAll, describe, expect, it } from 'vitest';
import { openModelParts } from './model-parts.ts';
import { openModel } from './open-model.ts';
import { writeRandomModel } from './random-model.ts';
import { tinyModel } from './tiny-model.ts';

const { configs: CONFIGS, tokenizer } = tinyModel({ codebookSize: 12 });

let whole: string;
beforeAll(async () => {
  whole = join(await temporaryFolder(), 'whole');
  await writeRandomModel(whole, CONFIGS, { tokenizer });
});

/** A copy of the whole model, changed. */
async function changed(change: (folder: string) => Promise<void>): Promise<string> {
  const folder = join(await temporaryFolder(), 'changed');
  await cp(whole, folder, { recursive: true });
  await change(folder);
  return folder;
}

async function editConfig(folder: string, part: string, edit: (config: Record<string, unknown>) => void) {
  const path = join(folder, part, 'config.json');
  const config = JSON.parse(await readFile(path, 'utf8')) as Record<string, unknown>;
  edit(config);
  await writeFile(path, JSON.stringify(config));
}

async function editWeights(folder: string, part: string, edit: (weights: Map<string, Tensor>) => void) {
  const path = join(folder, part, 'model.safetensors');
  const weights = await readSafetensors(path);
  edit(weights);
  await writeSafetensors(path, weights);
}

describe('a model folder', () => {
  it('opens, and opens again', async () => {
    for (let i = 0; i < 2; i++) await (await openModel(whole, { threads: 1 })).close();
  });

  it.each(['clip/config.json', 'gpt/model.safetensors', 'vqgan/config.json'])('must hold %s', async (file) => {
    const folder = await changed((at) => rm(join(at, file)));
    await expect(openModelParts(folder)).rejects.toMatchObject({
      code: 'not_found',
      message: expect.stringContaining(`${join(folder, file)} does not exist`) as string,
    });
  });

  it('may hold the weights of a discriminator', async () => {
    const folder = await changed((at) =>
      editWeights(at, 'vqgan', (weights) => weights.set('discriminator.head.weight', emptyTensor('float32', [1]))),
    );
    await openModelParts(folder);
  });

  it('may hold the buffers of reference checkpoints, and no weights like them', async () => {
    const folder = await changed(async (at) => {
      await editWeights(at, 'gpt', (weights) => weights.set('blocks.0.mask', emptyTensor('float32', [16, 16])));
      await editWeights(at, 'clip', (weights) => {
        for (const name of ['input_resolution', 'context_length', 'vocab_size']) {
          weights.set(name, emptyTensor('int64', []));
        }
      });
    });
    await openModelParts(folder);
    await editWeights(folder, 'gpt', (weights) => weights.set('blocks.0.mask.bias', emptyTensor('float32', [1])));
    await expect(openModelParts(folder)).rejects.toThrow('has unexpected blocks.0.mask.bias');
  });

  it.each([
    ['gpt', { tokens: 1 << 20 }, 'tokens: '],
    ['gpt', { tokens: 1024, layers: 256, vocabularySize: 1 << 20 }, 'too few for the 256 layers'],
    ['clip', { text: { ...CONFIGS.clip.text, contextLength: 4096, layers: 128 } }, 'text.contextLength: '],
    ['clip', { text: { ...CONFIGS.clip.text, contextLength: 1024, layers: 128 } }, 'too few for the 129 layers'],
    ['clip', { vision: { ...CONFIGS.clip.vision, imageSize: 4096, patchSize: 1 } }, 'positional_embedding must be'],
    ['vqgan', { multipliers: [1, 1, 1, 1, 1, 1, 1, 1], imageSize: 8192, blocks: 16 }, 'too few for the 264 layers'],
    [
      'vqgan',
      { groups: 4096, channels: 4096, codebookSize: 1 << 20, multipliers: [64] },
      'does not fit its config.json',
    ],
  ] as const)('with the config of a giant is refused without its memory (%s %#)', async (part, change, message) => {
    const folder = await changed((at) => editConfig(at, part, (config) => Object.assign(config, change)));
    const before = process.memoryUsage();
    await expect(openModelParts(folder)).rejects.toThrow(message);
    const { arrayBuffers, heapUsed } = process.memoryUsage();
    expect(arrayBuffers - before.arrayBuffers + heapUsed - before.heapUsed).toBeLessThan(64 << 20);
  });

  it('must hold the weights that the network asks for, no others, in their shapes', async () => {
    const folder = await changed((at) =>
      editWeights(at, 'gpt', (weights) => {
        weights.delete('head.bias');
        weights.set('surplus', emptyTensor('float32', [1]));
        weights.set('norm.bias', emptyTensor('float32', [17]));
        weights.set('norm.weight', emptyTensor('int32', [16]));
      }),
    );
    await expect(openModelParts(folder)).rejects.toMatchObject({
      code: 'failed_precondition',
      message:
        `${join(folder, 'gpt', 'model.safetensors')} does not fit its config.json: lacks head.bias; has unexpected ` +
        'surplus; norm.weight must be float32 or float16 [16], is int32 [16], norm.bias must be float32 or float16 ' +
        '[16], is float32 [17]; take both from the same model',
    });
  });

  it('names a few of many', async () => {
    const folder = await changed((at) => editConfig(at, 'gpt', (config) => (config['layers'] = 2)));
    await expect(openModelParts(folder)).rejects.toThrow(/lacks (blocks\.1\.\S+, ){3}blocks\.1\.\S+ and 8 more;/);
  });

  it.each([
    ['gpt', { conditionSize: 9 }, 'gpt.conditionSize must be clip.embeddingSize (16), is 9'],
    ['gpt', { vocabularySize: 13 }, 'gpt.vocabularySize must be vqgan.codebookSize (12), is 13'],
    ['gpt', { tokens: 25 }, 'gpt.tokens must be the number of places of the VQGAN grid (16), is 25'],
  ] as const)('must have parts that fit (%s %j)', async (part, change, message) => {
    const folder = join(await temporaryFolder(), 'misfit');
    await writeRandomModel(folder, { ...CONFIGS, [part]: { ...CONFIGS[part], ...change } }, { tokenizer });
    await expect(openModelParts(folder)).rejects.toMatchObject({
      code: 'failed_precondition',
      message: `the parts of model ${folder} do not fit: ${message}`,
    });
  });

  it.each([
    ['text that is no JSON', '{', 'must be JSON'],
    ['another network', JSON.stringify(CONFIGS.gpt), 'is no configuration of this network: model: '],
    ['an unknown key', JSON.stringify({ ...CONFIGS.clip, extra: 1 }), 'extra'],
    ['a missing key', JSON.stringify({ ...CONFIGS.clip, vision: undefined }), 'vision: '],
    ['a size out of range', JSON.stringify({ ...CONFIGS.clip, embeddingSize: 1e9 }), 'embeddingSize: '],
    [
      'sizes that do not divide',
      JSON.stringify({ ...CONFIGS.clip, vision: { ...CONFIGS.clip.vision, heads: 3 } }),
      'vision.heads: must divide vision.width (32); got 3',
    ],
    [
      'patches that do not divide',
      JSON.stringify({ ...CONFIGS.clip, vision: { ...CONFIGS.clip.vision, patchSize: 3 } }),
      'vision.imageSize: must be a multiple of vision.patchSize (3); got 16',
    ],
    ['no text at all', Buffer.from([0xff, 0xfe, 0x00]), 'cannot be read as text'],
  ])('is refused when config.json holds %s', async (_, text, message) => {
    const folder = await changed((at) => writeFile(join(at, 'clip', 'config.json'), text));
    const refused = expect(openModelParts(folder)).rejects;
    await refused.toMatchObject({ code: 'data_corrupt', message: expect.stringContaining(message) });
    await expect(openModelParts(folder)).rejects.toThrow(join(folder, 'clip', 'config.json'));
  });

  it('is refused when a file is far too large to be a configuration', async () => {
    const folder = await changed((at) => truncate(join(at, 'clip', 'config.json'), 2 ** 21));
    await expect(openModelParts(folder)).rejects.toMatchObject({ code: 'resource_exhausted' });
  });

  it('is refused when its weights are cut short', async () => {
    const folder = await changed((at) => truncate(join(at, 'vqgan', 'model.safetensors'), 5000));
    await expect(openModelParts(folder)).rejects.toMatchObject({ code: 'data_corrupt' });
  });

  const withDefaults = (text: string): Promise<string> => changed((at) => writeFile(join(at, 'generation.json'), text));

  it('may say how it draws', async () => {
    expect((await openModelParts(whole)).defaults).toEqual({});
    const defaults = { candidates: 8, temperature: 0.9, topK: 12, topP: 0.5, guidance: 2.5 };
    const all = await openModelParts(await withDefaults(JSON.stringify(defaults)));
    expect(all.defaults).toEqual(defaults);
    expect((await openModelParts(await withDefaults('{ "topK": 0 }'))).defaults).toEqual({ topK: 0 });
    expect((await openModelParts(await withDefaults('{}'))).defaults).toEqual({});
  });

  it.each([
    ['{', 'must be JSON: '],
    ['[]', 'is no set of defaults for generation: Invalid input: expected object, received array'],
    ['{ "steps": 20 }', 'is no set of defaults for generation: Unrecognized key: "steps"'],
    ['{ "seed": 1 }', 'is no set of defaults for generation: Unrecognized key: "seed"'],
    [
      '{ "topK": "all" }',
      'is no set of defaults for generation: topK: Invalid input: expected number, received string',
    ],
    ['{ "topK": null }', 'topK: Invalid input: expected number, received null'],
    ['{ "topK": 13 }', ': topK must be an integer in [1, 12], or 0 for off; got 13'],
    ['{ "topP": 0 }', ': topP must be in (0, 1]; got 0'],
    ['{ "temperature": -1 }', ': temperature must be in [0, 10]; got -1'],
    ['{ "guidance": 51 }', ': guidance must be in [0, 50]; got 51'],
    ['{ "candidates": 0 }', ': candidates must be an integer in [1, 256]; got 0'],
    ['{ "candidates": 257 }', ': candidates must be an integer in [1, 256]; got 257'],
    ['{ "candidates": 2.5 }', ': candidates must be an integer in [1, 256]; got 2.5'],
  ])('is refused when generation.json is %s', async (text, message) => {
    const folder = await withDefaults(text);
    const error: unknown = await openModelParts(folder).catch((cause: unknown) => cause);
    expect(error).toMatchObject({ code: 'data_corrupt', message: expect.stringContaining(message) });
    expect((error as Error).message).toMatch(join(folder, 'generation.json'));
  });

  it('is refused when generation.json is far too large, or a folder', async () => {
    const large = await changed((at) => writeFile(join(at, 'generation.json'), ' '.repeat(2 ** 17)));
    await expect(openModelParts(large)).rejects.toMatchObject({ code: 'resource_exhausted' });
    const odd = await changed(async (at) => void (await mkdir(join(at, 'generation.json'))));
    await expect(openModelParts(odd)).rejects.toThrow(join(odd, 'generation.json'));
  });

  it('has the vocabulary of its tokenizer, or else that of OpenAI', async () => {
    const other = cutVocabulary(createClipTokenizer(), ['a dog'], 515).tokenizer;
    const size = tokenizer.vocabularySize;
    const small = await changed((at) => writeFile(join(at, 'clip', 'tokenizer.json'), tokenizerToJson(other)));
    const wrong = `text.vocabularySize must be the tokenizer's ${other.vocabularySize}; got ${size}`;
    await expect(openModelParts(small)).rejects.toThrow(wrong);
    const none = await changed((at) => rm(join(at, 'clip', 'tokenizer.json')));
    await expect(openModelParts(none)).rejects.toThrow(
      `text.vocabularySize must be the tokenizer's 49408; got ${size}`,
    );
    const damaged = await changed((at) => writeFile(join(at, 'clip', 'tokenizer.json'), '{}'));
    await expect(openModelParts(damaged)).rejects.toMatchObject({ code: 'data_corrupt' });
  });
});
