import { gradients } from '@clip-gen/autodiff';
import { encodeModel, GraphBuilder } from '@clip-gen/graph';
import { l1 } from '@clip-gen/losses';
import { initialize, Scope } from '@clip-gen/nn';
import { createSession } from '@clip-gen/runtime';
import { emptyTensor, tensor } from '@clip-gen/tensor';
import { describe, expect, it } from 'vitest';
import { VQGAN_PRESETS, vqganConfigSchema } from './config.ts';
import {
  PREVIEW_PRESETS,
  previewConfigFor,
  previewConfigSchema,
  previewMisfit,
  previewSide,
  type PreviewConfig,
} from './preview-config.ts';
import { decodePreview, decodePreviewLevels } from './preview-decoder.ts';

const TINY: PreviewConfig = {
  model: 'preview',
  gridSize: 3,
  codebookSize: 7,
  codeSize: 4,
  channels: [6, 5],
  blocks: [1, 1],
  patchSize: 2,
};
const TOKENS = tensor(
  'int64',
  [2, 9],
  BigInt64Array.from({ length: 18 }, (_, i) => BigInt((i * i) % 7)),
);

/** Weights of a graph, with a bias of the last layer that leaves [−1, 1] on both sides. */
function weightsOf(scope: Scope) {
  const weights = Object.fromEntries(initialize(scope.specs, 3));
  weights['conv_out.bias']!.data.forEach((_, i, bias) => (bias[i] = (i - 6) / 4));
  return weights;
}

describe('the preview decoder', () => {
  it('makes pictures of the right shape, and the same as 8-bit levels', async () => {
    const graph = new GraphBuilder('preview');
    const scope = new Scope(graph);
    const tokens = graph.input('tokens', 'int64', ['B', 9]);
    graph.output('pixels', decodePreview(scope, TINY, tokens));
    graph.output('levels', decodePreviewLevels(scope, TINY, tokens));
    const session = await createSession(encodeModel(graph), { threads: 1 });
    const { pixels, levels } = await session.run({ ...weightsOf(scope), tokens: TOKENS });
    await session.close();
    const side = previewSide(TINY);
    expect(side).toBe(12);
    expect(pixels!.shape).toEqual([2, 3, side, side]);
    expect(levels!.shape).toEqual([2, side, side, 3]);
    expect(levels!.dtype).toBe('uint8');
    const seen = new Set<number>();
    for (let b = 0; b < 2; b++) {
      for (let at = 0; at < side * side; at++) {
        for (let c = 0; c < 3; c++) {
          const pixel = Number(pixels!.data[(b * 3 + c) * side * side + at]);
          const level = Number(levels!.data[(b * side * side + at) * 3 + c]);
          expect(Math.abs(Math.min(255, Math.max(0, pixel * 127.5 + 127.5)) - level)).toBeLessThanOrEqual(0.5 + 1e-4);
          seen.add(level);
        }
      }
    }
    expect(seen.size).toBeGreaterThan(20);
    expect([seen.has(0), seen.has(255)]).toEqual([true, true]);
  });

  it('puts the pixels of a place where the place is', async () => {
    const config: PreviewConfig = { ...TINY, gridSize: 2, channels: [3], blocks: [0] };
    const graph = new GraphBuilder('places');
    const scope = new Scope(graph);
    graph.output('pixels', decodePreview(scope, config, graph.input('tokens', 'int64', [1, 4])));
    const weights = weightsOf(scope);
    for (const name of ['conv_out.weight', 'codebook.weight']) weights[name]!.data.fill(0);
    weights['conv_out.bias']!.data.set(Float32Array.from({ length: 12 }, (_, i) => i)); // (row, column, colour)
    const session = await createSession(encodeModel(graph), { threads: 1 });
    const tokens = tensor('int64', [1, 4], new BigInt64Array(4));
    const { pixels } = await session.run({ ...weights, tokens });
    await session.close();
    const row = (y: number): number[] => [...(pixels!.data as Float32Array).subarray(4 * y, 4 * y + 4)];
    expect([row(0), row(1), row(2)]).toEqual([
      [0, 3, 0, 3],
      [6, 9, 6, 9],
      [0, 3, 0, 3],
    ]);
  });

  it('passes a gradient to every weight', async () => {
    const graph = new GraphBuilder('step');
    const scope = new Scope(graph);
    const picture = decodePreview(scope, TINY, graph.input('tokens', 'int64', [2, 9]));
    const { parameters } = graph;
    const found = gradients(
      l1(graph.input('target', 'float32', [2, 3, 12, 12]), picture),
      parameters.map(({ value }) => value),
    );
    parameters.forEach(({ name }, i) => graph.output(`grad.${name}`, found[i]!));
    const session = await createSession(encodeModel(graph), { threads: 1 });
    const target = emptyTensor('float32', [2, 3, 12, 12]);
    const outputs = await session.run({ ...weightsOf(scope), tokens: TOKENS, target });
    await session.close();
    expect(parameters.map(({ name }) => name)).toContain('codebook.weight');
    for (const { name } of parameters) {
      const data = outputs[`grad.${name}`]!.data as Float32Array;
      expect(Math.max(...data.map(Math.abs)), name).toBeGreaterThan(0);
    }
  });
});

describe('sizes', () => {
  it.each(['f8-2048', 'f16-16384'] as const)('the presets of %s fit each other', (pair) => {
    const vqgan = vqganConfigSchema.parse(VQGAN_PRESETS[`vqgan-${pair}`]);
    const config = previewConfigSchema.parse(previewConfigFor(vqgan, PREVIEW_PRESETS[`preview-${pair}`]));
    expect(previewMisfit(config, vqgan)).toBeUndefined();
    expect(previewMisfit({ ...config, patchSize: 1, codebookSize: 5 }, vqgan)).toMatch(
      /^codebookSize must be the VQGAN's \d+, is 5; its picture's side must be the VQGAN's \d+, is \d+$/,
    );
  });

  it('refuses sizes that do not fit together', () => {
    const issue = (changes: object): string | undefined =>
      previewConfigSchema.safeParse({ ...TINY, ...changes }).error?.issues[0]?.message;
    expect(issue({})).toBeUndefined();
    expect(issue({ blocks: [1] })).toBe('must have a number for each of the 2 levels');
    expect(issue({ gridSize: 1024, patchSize: 16 })).toMatch(/must be at most 8192/);
    expect(issue({ patchSize: 0.5 })).toMatch(/int/);
  });
});
