import { gradients } from '@clip-gen/autodiff';
import { GraphBuilder } from '@clip-gen/graph';
import { Scope } from '@clip-gen/nn';
import type { Tensor } from '@clip-gen/tensor';
import { expectTensor, loadGoldens, runGraph } from '@clip-gen/testing';
import { expect, it } from 'vitest';
import { lpips } from './lpips.ts';

const goldens = await loadGoldens(new URL('../goldens/lpips-narrow.safetensors', import.meta.url));
const { channels } = JSON.parse(goldens.metadata.get('config')!) as { channels: number[] };

function distanceGraph(): { graph: GraphBuilder; weights: Record<string, Tensor> } {
  const graph = new GraphBuilder('lpips');
  const [a, b] = [graph.input('a', 'float32', [2, 3, 32, 32]), graph.input('b', 'float32', [2, 3, 32, 32])];
  const distance = lpips(new Scope(graph), a, b, { channels });
  graph.output('distance', distance);
  gradients(distance, [a, b]).forEach((gradient, i) => graph.output(`grad.${i === 0 ? 'a' : 'b'}`, gradient));
  const weights = Object.fromEntries(
    graph.parameters.map(({ name }) => [name, goldens.tensor(`weights.${name}`)] as const),
  );
  return { graph, weights };
}

it('agrees with PyTorch: the distance and its gradients at both pictures', async () => {
  const { graph, weights } = distanceGraph();
  const [a, b] = [goldens.tensor('input.a'), goldens.tensor('input.b')];
  const results = await runGraph(graph, { ...weights, a, b });
  expectTensor('distance', results['distance'], goldens.tensor('loss.lpips'), { relative: 1e-5 });
  const tolerance = { relative: 2e-5, scale: 'max' } as const;
  expectTensor('a', results['grad.a'], goldens.tensor('input_grad.a'), tolerance);
  expectTensor('b', results['grad.b'], goldens.tensor('input_grad.b'), tolerance);
});

it('needs every weight of the reference and no other', () => {
  const theirs = [...goldens.keys()].filter((name) => name.startsWith('weights.')).map((name) => name.slice(8));
  expect(Object.keys(distanceGraph().weights).sort()).toEqual(theirs.sort());
});

it('is 0, with finite gradients, between a picture and itself, also where all features are 0', async () => {
  const { graph, weights } = distanceGraph();
  const dead = Object.fromEntries(
    Object.entries(weights).map(([name, value]) => [
      name,
      name.endsWith('.bias') ? { ...value, data: (value.data as Float32Array).map(() => -100) } : value,
    ]),
  );
  for (const values of [weights, dead]) {
    const picture = goldens.tensor('input.a');
    const results = await runGraph(graph, { ...values, a: picture, b: picture });
    expect(Number(results['distance']!.data[0])).toBe(0);
    for (const side of ['a', 'b']) {
      expect((results[`grad.${side}`]!.data as Float32Array).every(Number.isFinite)).toBe(true);
    }
  }
});
