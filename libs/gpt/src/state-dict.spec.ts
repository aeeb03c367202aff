import { readFile } from 'node:fs/promises';
import { GraphBuilder } from '@clip-gen/graph';
import { Scope } from '@clip-gen/nn';
import { expect, it } from 'vitest';
import { GPT_PRESETS, gptConfigSchema } from './config.ts';
import { predictTokens } from './gpt.ts';

it('gpt2-medium has the parameters of the published checkpoint, by name and shape', async () => {
  const golden = JSON.parse(await readFile(new URL('../goldens/state-dict.json', import.meta.url), 'utf8')) as {
    readonly parameters: Readonly<Record<string, readonly number[]>>;
    readonly buffers: Readonly<Record<string, readonly number[]>>;
  };
  const graph = new GraphBuilder('gpt');
  const condition = graph.input('condition', 'float32', ['B', 512]);
  predictTokens(new Scope(graph), GPT_PRESETS['gpt2-medium'], condition, graph.input('tokens', 'int64', ['B', 255]));
  expect(Object.fromEntries(graph.parameters.map(({ name, value }) => [name, value.shape]))).toEqual(golden.parameters);
  // what a checkpoint holds besides: the causal masks
  expect(Object.keys(golden.buffers)).toEqual(Array.from({ length: 24 }, (_, i) => `blocks.${i}.mask`));
});

it.each(Object.entries(GPT_PRESETS))('%s is a valid configuration', (_name, preset) => {
  expect(gptConfigSchema.parse(preset)).toEqual(preset);
  expect(preset.width % preset.heads).toBe(0);
});
