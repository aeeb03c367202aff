import { gradients } from '@clip-gen/autodiff';
import { GraphBuilder } from '@clip-gen/graph';
import { expectTensor, loadGoldens, runGraph } from '@clip-gen/testing';
import { expect, it } from 'vitest';
import { resizeBilinear } from './resize.ts';

it('resizeBilinear agrees with PyTorch’s interpolate: value and gradient', async () => {
  const goldens = await loadGoldens(new URL('../../autodiff/goldens/ops.safetensors', import.meta.url));
  const [x, out] = [goldens.tensor('resize_bilinear.in.0'), goldens.tensor('resize_bilinear.out')];
  const graph = new GraphBuilder('resize');
  const input = graph.input('x', 'float32', x.shape);
  const y = resizeBilinear(input, out.shape[2]!);
  const cotangent = graph.input('cotangent', 'float32', out.shape);
  graph.output('y', y);
  graph.output('gradient', gradients([{ value: y, cotangent }], [input])[0]!);
  expect(y.shape).toEqual(out.shape);
  const results = await runGraph(graph, { x, cotangent: goldens.tensor('resize_bilinear.cotangent') });
  expectTensor('y', results['y'], out, { relative: 2e-6, scale: 'max' });
  expectTensor('gradient', results['gradient'], goldens.tensor('resize_bilinear.grad.0'), {
    relative: 2e-6,
    scale: 'max',
  });
});
