import { gradients } from '@clip-gen/autodiff';
import { GraphBuilder } from '@clip-gen/graph';
import { Scope } from '@clip-gen/nn';
import type { Tensor } from '@clip-gen/tensor';
import { expectClose, runGraph, temporaryFolder } from '@clip-gen/testing';
import { beforeAll, describe, expect, it } from 'vitest';
import { loadFrozenModels, TINY_VQGAN, tinyGptTraining, writeFrozenModels, writePictures } from '../tiny-trainings.ts';
import { frozenValues, type FrozenModels } from './frozen-models.ts';
import { embeddingDistance, embeddingLoss } from './gpt-graphs.ts';
import { GptStage } from './gpt-stage.ts';

const [ROWS, K, C] = [16, TINY_VQGAN.codebookSize, TINY_VQGAN.codeSize];
const tokens: Tensor<'int64'> = {
  dtype: 'int64',
  shape: [1, ROWS],
  data: BigInt64Array.from({ length: ROWS }, (_, t) => BigInt((5 * t + 3) % K)),
};
let frozen: FrozenModels;

beforeAll(async () => {
  const folder = await temporaryFolder();
  await writePictures(folder, 4);
  await writeFrozenModels(folder, folder);
  const loaded = await loadFrozenModels(folder);
  // Starting weights make pictures that hardly differ: codes further apart than they start.
  const codes = loaded.vqgan.weights['quantizer.embedding.weight']!;
  const data = Float32Array.from(codes.data, (_, i) => Math.sin(3 * i));
  const weights = { ...loaded.vqgan.weights, 'quantizer.embedding.weight': { ...codes, data } };
  frozen = { ...loaded, vqgan: { ...loaded.vqgan, weights } };
});

/** The loss at logits (1, 16, K) and its gradient there. */
async function lossAt(logits: Float32Array<ArrayBuffer>): Promise<{ loss: number; gradient: Float32Array }> {
  const graph = new GraphBuilder('embedding');
  const scope = new Scope(graph);
  const { settings } = { settings: tinyGptTraining() };
  const input = graph.input('logits', 'float32', [1, ROWS, K]);
  const config = GptStage.config(settings, frozen);
  const loss = embeddingLoss(scope, config, frozen, graph.input('tokens', 'int64', [1, ROWS]), input);
  graph.output('loss', loss);
  graph.output('gradient', gradients(loss, [input])[0]!);
  const feeds = {
    ...needed(graph, scope),
    tokens,
    logits: { dtype: 'float32', shape: [1, ROWS, K], data: logits } as const,
  };
  const results = await runGraph(graph, feeds);
  return { loss: Number(results['loss']!.data[0]), gradient: results['gradient']!.data as Float32Array };
}

/** The distance of a picture made of codes (16, C), and its gradient there. */
async function distanceAt(codes: Float32Array<ArrayBuffer>): Promise<{ distance: number; gradient: Float32Array }> {
  const graph = new GraphBuilder('embedding');
  const scope = new Scope(graph);
  const input = graph.input('codes', 'float32', [ROWS, C]);
  const distance = embeddingDistance(scope, frozen, graph.input('tokens', 'int64', [1, ROWS]), input);
  graph.output('distance', distance);
  graph.output('gradient', gradients(distance, [input])[0]!);
  const feeds = {
    ...needed(graph, scope),
    tokens,
    codes: { dtype: 'float32', shape: [ROWS, C], data: codes } as const,
  };
  const results = await runGraph(graph, feeds);
  return { distance: Number(results['distance']!.data[0]), gradient: results['gradient']!.data as Float32Array };
}

function needed(graph: GraphBuilder, scope: Scope): Record<string, Tensor> {
  const values = frozenValues(frozen, scope.specs);
  return Object.fromEntries(graph.parameters.map(({ name }) => [name, values[name]!]));
}

const codebook = (): Float32Array => frozen.vqgan.weights['quantizer.embedding.weight']!.data;
const argMax = (row: Float32Array): number => row.indexOf(Math.max(...row));
const logits = Float32Array.from({ length: ROWS * K }, (_, i) => 2 * Math.sin(7 * i + 1));

describe('embeddingLoss', { timeout: 120_000 }, () => {
  it('is 0 at logits of the true tokens, and not elsewhere', async () => {
    const certain = new Float32Array(ROWS * K);
    tokens.data.forEach((token, t) => (certain[t * K + Number(token)] = 20));
    expect((await lossAt(certain)).loss).toBeLessThan(1e-10);
    expect((await lossAt(logits)).loss).toBeGreaterThan(1e-5);
  });

  it('has at the logits the gradient of the expected codes, by finite differences', async () => {
    const hard = Float32Array.from({ length: ROWS * C }, (_, i) => {
      const row = Math.floor(i / C);
      return codebook()[argMax(logits.subarray(row * K, (row + 1) * K)) * C + (i % C)]!;
    });
    const atCodes = await distanceAt(hard);
    const { loss, gradient } = await lossAt(logits);
    expectClose([loss], [atCodes.distance], { relative: 1e-5 });

    // The distance by one code value: central differences in float32.
    const largest = atCodes.gradient.reduce(
      (best, value, i) => (Math.abs(value) > Math.abs(atCodes.gradient[best]!) ? i : best),
      0,
    );
    const moved = async (by: number): Promise<number> => {
      const codes = hard.slice();
      codes[largest]! += by;
      return (await distanceAt(codes)).distance;
    };
    const step = 0.02;
    const difference = ((await moved(step)) - (await moved(-step))) / (2 * step);
    expectClose([atCodes.gradient[largest]!], [difference], { relative: 0.02 });

    // From there to the logits as if the codes were softmax(logits) · codebook: differences in float64.
    const row = Math.floor(largest / C);
    const surrogate = (at: number, by: number): number => {
      const values = Array.from(logits.subarray(row * K, (row + 1) * K));
      values[at]! += by;
      const exps = values.map(Math.exp);
      const total = exps.reduce((sum, value) => sum + value);
      let sum = 0;
      for (let k = 0; k < K; k++) {
        for (let c = 0; c < C; c++) sum += (atCodes.gradient[row * C + c]! * codebook()[k * C + c]! * exps[k]!) / total;
      }
      return sum;
    };
    const expected = Array.from({ length: K }, (_, k) => (surrogate(k, 1e-4) - surrogate(k, -1e-4)) / 2e-4);
    expectClose(gradient.subarray(row * K, (row + 1) * K), expected, { relative: 1e-3, scale: 'max' });
  });
});
