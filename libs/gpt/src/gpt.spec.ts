import { gradients } from '@clip-gen/autodiff';
import { GraphBuilder } from '@clip-gen/graph';
import { straightThroughCodes, tokenCrossEntropy } from '@clip-gen/losses';
import { Scope } from '@clip-gen/nn';
import type { Tensor } from '@clip-gen/tensor';
import { expectTensor, loadGoldens, runGraph } from '@clip-gen/testing';
import { describe, expect, it } from 'vitest';
import type { GptConfig } from './config.ts';
import { predictTokens } from './gpt.ts';

const goldens = await loadGoldens(new URL('../goldens/gpt-tiny.safetensors', import.meta.url));
const tiny: GptConfig = {
  model: 'gpt',
  tokens: 8,
  vocabularySize: 24,
  conditionSize: 16,
  width: 32,
  layers: 2,
  heads: 2,
};

// PyTorch's own float32 run lies 5e-7 (logits) and 7e-7 (gradients) from its float64 run, of the largest element.
const VALUES = { relative: 1e-5, scale: 'max' } as const;
const GRADIENTS = { relative: 5e-6, scale: 'max' } as const;

function weights(graph: GraphBuilder): Record<string, Tensor> {
  return Object.fromEntries(graph.parameters.map(({ name }) => [name, goldens.tensor(`weights.${name}`)]));
}

describe('predictTokens', () => {
  it('agrees with PyTorch: logits, cross-entropy and every gradient', async () => {
    const graph = new GraphBuilder('gpt');
    const condition = graph.input('condition', 'float32', [2, 16]);
    const previous = graph.input('tokens', 'int64', [2, 7]);
    const target = graph.input('target', 'int64', [2, 8]);
    const logits = predictTokens(new Scope(graph), tiny, condition, previous);
    const loss = tokenCrossEntropy(logits, target);
    graph.output('logits', logits);
    graph.output('loss', loss);
    const at = [...graph.parameters.map(({ value }) => value), condition];
    gradients(loss, at).forEach((gradient, i) => graph.output(`grad.${at[i]!.name}`, gradient));

    const results = await runGraph(graph, {
      ...weights(graph),
      condition: goldens.tensor('input.condition'),
      tokens: goldens.tensor('input.tokens', 'int64'),
      target: goldens.tensor('input.target', 'int64'),
    });

    expectTensor('logits', results['logits'], goldens.tensor('output.logits'), VALUES);
    expectTensor('loss', results['loss'], goldens.tensor('loss.cross_entropy'), VALUES);
    const expected = [...goldens.keys()].filter((name) => name.startsWith('grad.'));
    expect(expected.map((name) => name.slice(5)).sort()).toEqual(graph.parameters.map(({ name }) => name).sort());
    for (const name of expected) expectTensor(name, results[name], goldens.tensor(name), GRADIENTS);
    expectTensor('condition', results['grad.condition'], goldens.tensor('input_grad.condition'), GRADIENTS);
  });

  it('needs every float weight of the state dict and no other', () => {
    const graph = new GraphBuilder('gpt');
    const condition = graph.input('condition', 'float32', [2, 16]);
    predictTokens(new Scope(graph), tiny, condition, graph.input('tokens', 'int64', [2, 7]));
    const ours = graph.parameters.map(({ name, value }) => `${name} ${value.shape.join('×')}`);
    const theirs = [...goldens].flatMap(([name, { dtype, shape }]) =>
      name.startsWith('weights.') && dtype === 'float32' ? [`${name.slice(8)} ${shape.join('×')}`] : [],
    );
    expect(ours.sort()).toEqual(theirs.sort());
  });

  it.each([1, 3])('with a named batch gives row %i what the static graph gives', async (batch) => {
    const build = (size: number | string): GraphBuilder => {
      const graph = new GraphBuilder('gpt');
      const condition = graph.input('condition', 'float32', [size, 16]);
      const previous = graph.input('tokens', 'int64', [size, 7]);
      graph.output('logits', predictTokens(new Scope(graph), tiny, condition, previous));
      return graph;
    };
    const [named, fixed] = [build('B'), build(batch)];
    const feeds = {
      ...weights(named),
      condition: repeatRows(goldens.tensor('input.condition'), batch),
      tokens: repeatRows(goldens.tensor('input.tokens', 'int64'), batch),
    };
    const [a, b] = [await runGraph(named, feeds), await runGraph(fixed, feeds)];
    expectTensor('logits', a['logits'], b['logits']!, { relative: 1e-6, scale: 'max' });
  });

  it('sees no later token: changing token t moves the logits after position t only', async () => {
    const graph = new GraphBuilder('gpt');
    const condition = graph.input('condition', 'float32', [2, 16]);
    const previous = graph.input('tokens', 'int64', [2, 7]);
    graph.output('logits', predictTokens(new Scope(graph), tiny, condition, previous));
    const tokens = goldens.tensor('input.tokens', 'int64');
    const changed = tokens.data.slice();
    changed[4] = (changed[4]! + 1n) % 24n;
    const run = (data: BigInt64Array<ArrayBuffer>) =>
      runGraph(graph, {
        ...weights(graph),
        condition: goldens.tensor('input.condition'),
        tokens: { dtype: 'int64', shape: tokens.shape, data },
      });
    const [a, b] = [(await run(tokens.data.slice()))['logits']!, (await run(changed))['logits']!];
    const before = 5 * 24; // positions 0…4 predict tokens 0…4
    expect(b.data.slice(0, before)).toEqual(a.data.slice(0, before));
    expect(b.data.slice(before, before + 24)).not.toEqual(a.data.slice(before, before + 24));
    expect(b.data.slice(8 * 24)).toEqual(a.data.slice(8 * 24)); // the other row
  });
});

describe('straightThroughCodes', () => {
  it('agrees with PyTorch: rows and the gradient of the logits', async () => {
    const straight = await loadGoldens(new URL('../goldens/straight-through.safetensors', import.meta.url));
    const graph = new GraphBuilder('straight-through');
    const logits = graph.input('logits', 'float32', [12, 10]);
    const codebook = graph.input('codebook', 'float32', [10, 4]);
    const cotangent = graph.input('cotangent', 'float32', [12, 4]);
    const rows = straightThroughCodes(logits, codebook);
    graph.output('rows', rows);
    graph.output('gradient', gradients([{ value: rows, cotangent }], [logits])[0]!);
    const flat = (name: string): Tensor => {
      const { dtype, shape, data } = straight.tensor(name);
      return { dtype, shape: [shape[0]! * shape[1]!, shape[2]!], data };
    };
    const results = await runGraph(graph, {
      logits: flat('input.logits'),
      codebook: straight.tensor('input.codebook'),
      cotangent: flat('input.cotangent'),
    });
    expectTensor('rows', results['rows'], flat('output.rows'), VALUES);
    expectTensor('gradient', results['gradient'], flat('grad.logits'), GRADIENTS);
  });
});

/** `count` rows, taken from the start over and over. */
function repeatRows(tensor: Tensor, count: number): Tensor {
  const [rows, ...rest] = tensor.shape as [number, ...number[]];
  const size = tensor.data.length / rows;
  if (tensor.data instanceof BigInt64Array) {
    const data = BigInt64Array.from(
      { length: count * size },
      (_, i) => (tensor.data[i % (rows * size)] as bigint) ?? 0n,
    );
    return { dtype: 'int64', shape: [count, ...rest], data };
  }
  const data = Float32Array.from({ length: count * size }, (_, i) => Number(tensor.data[i % (rows * size)]));
  return { dtype: 'float32', shape: [count, ...rest], data };
}
