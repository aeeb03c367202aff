import { readFile } from 'node:fs/promises';
import { GraphBuilder } from '@clip-gen/graph';
import { Scope } from '@clip-gen/nn';
import { expect, it, vi } from 'vitest';
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

it.each([
  [{ heads: 5 }, 'heads', 'must divide width (256)'],
  [{ tokens: 1025 }, 'tokens', 'Too big: expected number to be <=1024'],
])('refuses sizes: %j', (change, field, message) => {
  const { error } = gptConfigSchema.safeParse({ ...GPT_PRESETS['gpt-mini'], ...change });
  expect(error?.issues).toMatchObject([{ path: [field], message }]);
});

it('has one causal mask for all layers', () => {
  const graph = new GraphBuilder('masks');
  const config = { ...GPT_PRESETS['gpt-mini'], layers: 3 };
  const made = vi.spyOn(graph, 'constant');
  const condition = graph.input('condition', 'float32', ['B', 256]);
  predictTokens(new Scope(graph), config, condition, graph.input('tokens', 'int64', ['B', 63]));
  const masks = made.mock.calls.filter(([{ shape }]) => shape.join() === '64,64');
  expect(masks).toHaveLength(1);
});
