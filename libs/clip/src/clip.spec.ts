import { gradients } from '@clip-gen/autodiff';
import { GraphBuilder, mul, reduceSum } from '@clip-gen/graph';
import { contrastive } from '@clip-gen/losses';
import { Scope } from '@clip-gen/nn';
import type { Tensor } from '@clip-gen/tensor';
import { expectTensor, loadGoldens, runGraph } from '@clip-gen/testing';
import { describe, expect, it } from 'vitest';
import { encodeImage, encodeText, logitScale, normalizeRows } from './clip.ts';
import type { ClipConfig } from './config.ts';

const goldens = await loadGoldens(new URL('../goldens/clip-tiny.safetensors', import.meta.url));
const tiny: ClipConfig = {
  model: 'clip',
  embeddingSize: 16,
  vision: { imageSize: 16, patchSize: 4, width: 24, layers: 2, heads: 2 },
  text: { contextLength: 12, vocabularySize: 64, width: 16, layers: 2, heads: 2 },
};

// PyTorch's own float32 run lies 5e-7 (features) and 2e-6 (gradients) from its float64 run, of the largest element.
const VALUES = { relative: 1e-5, scale: 'max' } as const;
const GRADIENTS = { relative: 1e-5, scale: 'max' } as const;

function weights(graph: GraphBuilder): Record<string, Tensor> {
  return Object.fromEntries(graph.parameters.map(({ name }) => [name, goldens.tensor(`weights.${name}`)]));
}

const inputs = { image: goldens.tensor('input.image'), tokens: goldens.tensor('input.tokens', 'int64') };

describe('CLIP', () => {
  it('agrees with PyTorch: features, contrastive loss and every gradient', async () => {
    const graph = new GraphBuilder('clip');
    const scope = new Scope(graph);
    const image = graph.input('image', 'float32', [4, 3, 16, 16]);
    const imageFeatures = encodeImage(scope, tiny, image);
    const textFeatures = encodeText(scope, tiny, graph.input('tokens', 'int64', [4, 12]));
    const [imageUnit, textUnit] = [normalizeRows(imageFeatures), normalizeRows(textFeatures)];
    const loss = contrastive(imageUnit, textUnit, logitScale(scope));
    graph.output('image_features', imageFeatures);
    graph.output('text_features', textFeatures);
    graph.output('image_unit', imageUnit);
    graph.output('text_unit', textUnit);
    graph.output('loss', loss);
    const at = graph.parameters.map(({ value }) => value);
    gradients(loss, at).forEach((gradient, i) => graph.output(`grad.${at[i]!.name}`, gradient));
    graph.output('input_grad', gradients(reduceSum(mul(imageFeatures, imageFeatures)), [image])[0]!);

    const results = await runGraph(graph, { ...weights(graph), ...inputs });

    for (const name of ['image_features', 'text_features', 'image_unit', 'text_unit']) {
      expectTensor(name, results[name], goldens.tensor(`output.${name}`), VALUES);
    }
    expectTensor('loss', results['loss'], goldens.tensor('loss.contrastive'), VALUES);
    const expected = [...goldens.keys()].filter((name) => name.startsWith('grad.'));
    expect(expected.map((name) => name.slice(5)).sort()).toEqual(at.map(({ name }) => name).sort());
    for (const name of expected) expectTensor(name, results[name], goldens.tensor(name), GRADIENTS);
    expectTensor('image', results['input_grad'], goldens.tensor('input_grad.image'), GRADIENTS);
  });

  it('gives a tower’s named batch what its static graph gives', async () => {
    const build = (size: number | string, tower: 'image' | 'text'): GraphBuilder => {
      const graph = new GraphBuilder(tower);
      const scope = new Scope(graph);
      const features =
        tower === 'image'
          ? encodeImage(scope, tiny, graph.input('image', 'float32', [size, 3, 16, 16]))
          : encodeText(scope, tiny, graph.input('tokens', 'int64', [size, 12]));
      graph.output('features', normalizeRows(features));
      return graph;
    };
    for (const tower of ['image', 'text'] as const) {
      const name = tower === 'image' ? 'image' : 'tokens';
      for (const batch of [1, 3]) {
        const { dtype, shape, data } = inputs[name];
        const rows = { dtype, shape: [batch, ...shape.slice(1)], data: data.slice(0, (data.length / 4) * batch) };
        const [named, fixed] = [build('B', tower), build(batch, tower)];
        const feeds = { ...weights(named), [name]: rows as Tensor };
        const [a, b] = [await runGraph(named, feeds), await runGraph(fixed, feeds)];
        expectTensor(`${tower} ${batch}`, a['features'], b['features']!, { relative: 1e-6, scale: 'max' });
      }
    }
  });
});
