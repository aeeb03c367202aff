import { readFile } from 'node:fs/promises';
import { GraphBuilder } from '@clip-gen/graph';
import { Scope } from '@clip-gen/nn';
import { expect, it } from 'vitest';
import { encodeImage, encodeText, logitScale } from './clip.ts';
import { CLIP_PRESETS, clipConfigSchema } from './config.ts';

it('vit-b-32 has the parameters of the published checkpoint, by name and shape', async () => {
  const golden = JSON.parse(await readFile(new URL('../goldens/state-dict.json', import.meta.url), 'utf8')) as {
    readonly parameters: Readonly<Record<string, readonly number[]>>;
  };
  const graph = new GraphBuilder('clip');
  const scope = new Scope(graph);
  encodeImage(scope, CLIP_PRESETS['vit-b-32'], graph.input('pixels', 'float32', ['B', 3, 224, 224]));
  encodeText(scope, CLIP_PRESETS['vit-b-32'], graph.input('tokens', 'int64', ['B', 77]));
  logitScale(scope);
  expect(Object.fromEntries(graph.parameters.map(({ name, value }) => [name, value.shape]))).toEqual(golden.parameters);
});

it.each(Object.entries(CLIP_PRESETS))('%s is a valid configuration', (_name, preset) => {
  expect(clipConfigSchema.parse(preset)).toEqual(preset);
  expect(preset.vision.width % preset.vision.heads).toBe(0);
  expect(preset.text.width % preset.text.heads).toBe(0);
  expect(preset.vision.imageSize % preset.vision.patchSize).toBe(0);
});

it.each([
  ['vision', { patchSize: 15 }, ['vision', 'imageSize'], 'must be a multiple of vision.patchSize (15)'],
  ['vision', { heads: 5 }, ['vision', 'heads'], 'must divide vision.width (192)'],
  ['text', { heads: 5 }, ['text', 'heads'], 'must divide text.width (192)'],
  ['text', { contextLength: 2 }, ['text', 'contextLength'], 'Too small: expected number to be >=3'],
  ['text', { contextLength: 1025 }, ['text', 'contextLength'], 'Too big: expected number to be <=1024'],
] as const)('refuses sizes of %s: %j', (tower, change, path, message) => {
  const preset = CLIP_PRESETS['vit-64'];
  const { error } = clipConfigSchema.safeParse({ ...preset, [tower]: { ...preset[tower], ...change } });
  expect(error?.issues).toMatchObject([{ path, message }]);
});
