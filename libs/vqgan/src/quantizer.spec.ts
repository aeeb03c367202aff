import { GraphBuilder } from '@clip-gen/graph';
import { Scope } from '@clip-gen/nn';
import { tensor } from '@clip-gen/tensor';
import { runGraph } from '@clip-gen/testing';
import { expect, it } from 'vitest';
import { VQGAN_PRESETS, vqganConfigSchema } from './config.ts';
import { nearestCodes, quantize } from './quantizer.ts';

const config = vqganConfigSchema.parse({
  ...VQGAN_PRESETS['vqgan-f8-2048'],
  codebookSize: 3,
  codeSize: 2,
  codeChoice: 'projection',
});

it('takes the code of the largest projection, whatever the codes are', async () => {
  const graph = new GraphBuilder('choice');
  graph.output('tokens', nearestCodes(new Scope(graph), config, graph.input('rows', 'float32', [3, 2])));
  expect(graph.parameters.map(({ name }) => name)).toEqual(['quantizer.proj.weight', 'quantizer.proj.bias']);
  const { tokens } = await runGraph(graph, {
    rows: tensor('float32', [3, 2], Float32Array.of(1, 0, 0, 1, -1, -1)),
    'quantizer.proj.weight': tensor('float32', [3, 2], Float32Array.of(0, 5, 2, 0, 0, 0)),
    'quantizer.proj.bias': tensor('float32', [3], Float32Array.of(0, 0, 1)),
  });
  expect(tokens!.data).toEqual(BigInt64Array.of(1n, 0n, 2n));
});

it('does not train that choice', () => {
  const graph = new GraphBuilder('training');
  const latents = graph.input('latents', 'float32', [1, 2, 2, 2]);
  expect(() => quantize(new Scope(graph), config, latents)).toThrow("codeChoice must be 'nearest' in training");
});
