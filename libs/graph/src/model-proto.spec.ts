import { join } from 'node:path';
import { ModelProto } from '@clip-gen/onnx-proto';
import { openSafetensors, writeSafetensors } from '@clip-gen/safetensors';
import { tensor, type Tensor } from '@clip-gen/tensor';
import { expectTensor, runGraph, temporaryFolder } from '@clip-gen/testing';
import { describe, expect, it } from 'vitest';
import { GraphBuilder } from './graph-builder.ts';
import { add, conv, gelu, gemm, groupNormalization, mul, relu, stopGradient, straightThrough } from './index.ts';
import { encodeModel } from './model-proto.ts';
import { usedParameters } from './reachable.ts';

const wave = (...shape: number[]): Tensor<'float32'> => {
  const data = Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, i) => Math.sin(i + shape.length));
  return tensor('float32', shape, data);
};
const nodesOf = (graph: GraphBuilder) => ModelProto.decode(encodeModel(graph)).graph!.node;

describe('encodeModel', () => {
  it('lowers a composite to ONNX nodes', () => {
    const graph = new GraphBuilder('g');
    graph.output('y', gelu(graph.input('x', 'float32', [3])));
    expect(graph.nodes.map(({ op }) => op)).toEqual(['Gelu']);
    expect(nodesOf(graph).map(({ opType }) => opType)).toEqual(['Mul', 'Erf', 'Add', 'Mul', 'Mul']);
  });

  it('lowers composites inside composites', async () => {
    const graph = new GraphBuilder('g');
    const x = graph.input('x', 'float32', [3]);
    const [y] = graph.compose('StopGradient', [x], {}, () => [stopGradient(gelu(x))]);
    graph.output('y', relu(y!));
    const data = wave(3);
    const results = await runGraph(graph, { x: data });
    const direct = new GraphBuilder('g');
    direct.output('y', relu(gelu(direct.input('x', 'float32', [3]))));
    expect(results['y']).toEqual((await runGraph(direct, { x: data }))['y']);
  });

  it('leaves out what no output needs: nodes, parameters, constants', () => {
    const graph = new GraphBuilder('g');
    const x = graph.input('x', 'float32', [2, 3]);
    const used = graph.parameter('used', [4, 3]);
    mul(gemm(x, graph.parameter('unused', [5, 3]), null, { transB: true }), 7);
    graph.output('y', gemm(x, used, null, { transB: true }));
    const model = ModelProto.decode(encodeModel(graph)).graph!;
    expect(model.node.map(({ opType }) => opType)).toEqual(['Gemm']);
    expect(model.input.map(({ name }) => name)).toEqual(['x', 'used']);
    expect(model.initializer).toEqual([]);
    expect(usedParameters(graph)).toEqual(['used']);
  });

  it('gives the same bytes each time and leaves the graph as it is, in blocked layouts too', () => {
    const graph = new GraphBuilder('g');
    const x = graph.input('x', 'float32', [1, 16, 4, 4]);
    const wide = conv(x, graph.parameter('a', [32, 16, 3, 3]), null, { pads: [1, 1, 1, 1] });
    // 24 outputs in blocks of 16: 8 rows of zeros stand beside them.
    graph.output('y', conv(wide, graph.parameter('b', [24, 32, 3, 3]), graph.parameter('c', [24])));
    const constants = graph.constants.size;
    const first = encodeModel(graph, { channelBlock: 16 });
    expect(encodeModel(graph, { channelBlock: 16 })).toEqual(first);
    expect(graph.constants.size).toBe(constants);
    const { node, initializer } = ModelProto.decode(first).graph!;
    expect(node.map(({ opType }) => opType)).toContain('Concat');
    expect(new Set(initializer.map(({ name }) => name)).size).toBe(initializer.length);
    const given = new Set(initializer.map(({ name }) => name));
    const shapes = node.filter(({ opType }) => opType === 'Reshape').map(({ input }) => input[1]!);
    expect(shapes.length).toBeGreaterThan(0);
    expect(shapes.every((name) => given.has(name))).toBe(true);
    expect(encodeModel(graph)).not.toEqual(first);
  });

  it('leaves out the nodes of a composite whose results nobody reads', () => {
    const graph = new GraphBuilder('g');
    const x = graph.input('x', 'float32', [3]);
    const hard = relu(x);
    graph.output('y', straightThrough(gelu(x), hard));
    expect(nodesOf(graph).map(({ opType }) => opType)).toEqual(['Relu', 'Identity']);
  });

  it('gives one value under two names, and an input as an output', async () => {
    const graph = new GraphBuilder('g');
    const x = graph.input('x', 'float32', [3]);
    const y = relu(x);
    for (const name of ['first', 'second']) graph.output(name, y);
    graph.output('same', x);
    graph.output('constant', graph.scalar(2));
    const data = wave(3);
    const results = await runGraph(graph, { x: data });
    expect(results['first']!.data).toEqual(data.data.map((v) => Math.max(v, 0)));
    expect(results['second']).toEqual(results['first']);
    expect(results['same']).toEqual(data);
    expect(results['constant']!.data).toEqual(Float32Array.of(2));
  });

  it('writes named dimensions as symbols', () => {
    const graph = new GraphBuilder('g');
    graph.output('y', relu(graph.input('x', 'float32', ['B', 3])));
    const { input, output } = ModelProto.decode(encodeModel(graph)).graph!;
    for (const value of [input[0]!, output[0]!]) {
      expect(value.type!.tensorType!.shape!.dim.map(({ dimParam, dimValue }) => dimParam ?? Number(dimValue))).toEqual([
        'B',
        3,
      ]);
    }
  });

  it('needs an output', () => {
    expect(() => encodeModel(new GraphBuilder('empty'))).toThrow('graph empty must have an output; got none');
  });
});

describe('parameters in a safetensors file', () => {
  const build = () => {
    const graph = new GraphBuilder('g');
    const x = graph.input('x', 'float32', ['B', 4, 2, 2]);
    const normal = groupNormalization(x, 2, graph.parameter('norm.weight', [4]), graph.parameter('norm.bias', [4]));
    graph.output('y', add(normal, graph.parameter('shift', [1, 4, 1, 1])));
    return graph;
  };
  const weights = { 'norm.weight': wave(4), 'norm.bias': wave(4), shift: wave(1, 4, 1, 1) };

  it('give what parameters as inputs give', async () => {
    const folder = await temporaryFolder();
    const file = 'model.safetensors';
    // Another tensor and another element type, so that no parameter lies where a guess would put it.
    const other = ['aaa', tensor('uint8', [3], new Uint8Array(3))] as const;
    await writeSafetensors(join(folder, file), [...Object.entries(weights), ['other', wave(5)] as const, other]);
    const safetensors = await openSafetensors(join(folder, file));
    const { entries } = safetensors;
    await safetensors.close();
    const x = wave(3, 4, 2, 2);
    const stored = await runGraph(
      build(),
      { x },
      {
        parameters: (name) => {
          const { byteOffset, byteLength } = entries.get(name)!;
          return { file, byteOffset, byteLength };
        },
        session: { threads: 1, externalDataFolder: folder },
      },
    );
    const fed = await runGraph(build(), { x, ...weights });
    expectTensor('y', stored['y'], fed['y']!, { relative: 1e-6, scale: 'max' });
  });

  it('must have the parameter’s size', () => {
    const at = () => ({ file: 'w.safetensors', byteOffset: 64, byteLength: 12 });
    expect(() => encodeModel(build(), { parameters: at })).toThrow(
      'parameter norm.weight [4] takes 16 bytes; w.safetensors has 12',
    );
  });
});
