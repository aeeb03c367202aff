import { ModelProto } from '@clip-gen/onnx-proto';
import { describe, expect, it } from 'vitest';
import { GraphBuilder } from './graph-builder.ts';
import { add, matMul, mul, reshape, transpose, type Value } from './index.ts';
import type { ExternalLocation } from './model-proto.ts';
import { encodePrepared } from './prepared-model.ts';

const WEIGHTS = { turned: { shape: [3, 4] }, scaled: { shape: [4] }, plain: { shape: [2, 4] } } as const;

/** x (2, 4) · turnedᵀ + sums of forms; `scaled` in two forms, one made of the other. */
function example(): GraphBuilder {
  const graph = new GraphBuilder('g');
  const x = graph.input('x', 'float32', [2, 4]);
  const double = mul(graph.parameter('scaled', [4]), 2);
  const row = reshape(mul(double, double), [1, 4]);
  const h = add(mul(add(x, row), double), graph.parameter('plain', [2, 4]));
  graph.output('y', matMul(h, transpose(graph.parameter('turned', [3, 4]), [1, 0])));
  return graph;
}

const inputsOf = (model: Uint8Array): string[] => ModelProto.decode(model).graph!.input.map(({ name }) => name);
const opsOf = (model: Uint8Array): string[] => ModelProto.decode(model).graph!.node.map(({ opType }) => opType);

describe('encodePrepared', () => {
  it.each([
    [1 << 20, 1],
    [32, 2],
    [1, 3],
  ])('makes forms of about %d bytes at once: %d preparations', (bytes, groups) => {
    const { preparations, model } = encodePrepared(example(), { bytes, parameters: anywhere });
    expect(preparations.length).toBe(groups);
    expect(inputsOf(model)).toEqual(['x', ...preparations.flatMap(({ forms }) => forms)]);
    for (const { model: preparation, forms } of preparations) {
      expect(ModelProto.decode(preparation).graph!.output.map(({ name }) => name)).toEqual(forms);
    }
  });

  it('leaves what depends on an input, and reads a weight where it lies that has no other form', () => {
    const { model, preparations } = encodePrepared(example(), { parameters: anywhere });
    expect(opsOf(model)).toEqual(['Add', 'Mul', 'Add', 'MatMul']);
    expect(inputsOf(model)).toEqual(['x', ...preparations.flatMap(({ forms }) => forms)]);
    expect(ModelProto.decode(model).graph!.initializer.map(({ name }) => name)).toEqual(['plain']);
    expect(preparations.map((preparation) => inputsOf(preparation.model))).toEqual([[]]);
  });

  it('leaves outputs to the graph, though they depend on weights alone', () => {
    const graph = new GraphBuilder('g');
    const [x, weight] = [graph.input('x', 'float32', [4]), graph.parameter('scaled', [4])];
    const double: Value = mul(weight, 2);
    graph.output('double', double);
    graph.output('y', add(x, double));
    const { model, preparations } = encodePrepared(graph, { parameters: anywhere });
    expect(preparations).toEqual([]);
    expect(opsOf(model)).toEqual(['Mul', 'Add']);
  });

  it('refuses a graph without outputs', () => {
    expect(() => encodePrepared(new GraphBuilder('g'), { parameters: anywhere })).toThrow('must have an output');
  });
});

function anywhere(name: string): ExternalLocation {
  const { shape } = WEIGHTS[name as keyof typeof WEIGHTS];
  return { file: 'w', byteOffset: 0, byteLength: 4 * shape.reduce<number>((a, b) => a * b, 1) };
}
