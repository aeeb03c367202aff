import { GraphBuilder } from '@clip-gen/graph';
import { blockedLayers, initialize, PLAIN_LAYERS, Scope, type FeatureMap, type MapLayers } from '@clip-gen/nn';
import { nativeChannelBlock } from '@clip-gen/runtime';
import { tensor, type Tensor } from '@clip-gen/tensor';
import { expectTensor, runGraph } from '@clip-gen/testing';
import { describe, expect, it } from 'vitest';
import { gridSide, VQGAN_PRESETS, vqganConfigSchema, type VqganConfig } from './config.ts';
import { decodeLatents, decodesInBlocks } from './decoder.ts';
import { lookUp } from './quantizer.ts';

const block = await nativeChannelBlock();
const released = vqganConfigSchema.parse(VQGAN_PRESETS['vqgan-f16-16384']);
const emoji = vqganConfigSchema.parse(VQGAN_PRESETS['vqgan-f8-2048']);
const narrow = { channels: 32, groups: 8, codebookSize: 64, codeSize: 16 } as const;

const CONFIGS: Readonly<Record<string, VqganConfig>> = {
  'f16 of 16,384 codes, narrower': { ...released, ...narrow, imageSize: 128, attentionSides: [8] },
  'f16 of 1,024 codes, narrower': { ...released, ...narrow, imageSize: 64, codebookSize: 1024, normEpsilon: 1e-6 },
  'f8 by 256 latents': { ...released, ...narrow, imageSize: 96, multipliers: [1, 1, 2, 4], latentSize: 24 },
  'emoji: folded pixels, patch encoder': emoji,
  'one level of many channels and rows': { ...released, ...narrow, imageSize: 64, channels: 128, multipliers: [1] },
  'a grid of 3 × 3': { ...emoji, imageSize: 48, attentionSides: [3, 6] },
  'one level, four pixels folded': { ...emoji, imageSize: 20, patchSize: 4, multipliers: [3] },
};

/** The picture of a grid, as pixels. */
async function decode<M extends FeatureMap>(config: VqganConfig, layers: MapLayers<M>): Promise<Tensor> {
  const graph = new GraphBuilder('decoder');
  const scope = new Scope(graph);
  const side = gridSide(config);
  const input = graph.input('tokens', 'int64', [1, side * side]);
  graph.output('pixels', decodeLatents(scope, config, lookUp(scope, config, input, side), layers));
  const ids = BigInt64Array.from({ length: side * side }, (_, i) => BigInt((i * 37) % config.codebookSize));
  const weights = Object.fromEntries(initialize(scope.specs, 5));
  return (await runGraph(graph, { ...weights, tokens: tensor('int64', [1, side * side], ids) }))['pixels']!;
}

describe.skipIf(block === undefined)('a decoder in blocks', () => {
  it.each(Object.entries(CONFIGS))('decodes as standard operators do: %s', async (_, config) => {
    expect(decodesInBlocks(config, block!)).toBe(true);
    const [plain, ours] = [await decode(config, PLAIN_LAYERS), await decode(config, blockedLayers(block!))];
    expectTensor('pixels', ours, plain, { relative: 2e-5, scale: 'max' });
  });

  it('asks for the same weights', () => {
    const names = <M extends FeatureMap>(layers: MapLayers<M>): unknown => {
      const graph = new GraphBuilder('decoder');
      const scope = new Scope(graph);
      const side = gridSide(released);
      const codes = graph.input('codes', 'float32', [1, released.codeSize, side, side]);
      decodeLatents(scope, released, codes, layers);
      return scope.specs.map(({ name, shape }) => ({ name, shape })).sort((a, b) => (a.name < b.name ? -1 : 1));
    };
    expect(names(blockedLayers(16))).toEqual(names(PLAIN_LAYERS));
  });
});

it('decodes in blocks where all maps have whole ones', () => {
  expect(decodesInBlocks(released, 16)).toBe(true);
  expect(decodesInBlocks({ ...released, channels: 24, multipliers: [2, 4] }, 16)).toBe(true);
  expect(decodesInBlocks({ ...released, channels: 24, multipliers: [1, 2] }, 16)).toBe(false);
  expect(decodesInBlocks({ ...released, channels: 24, multipliers: [1, 2] }, 8)).toBe(true);
});
