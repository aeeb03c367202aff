import { ModelProto } from '@clip-gen/onnx-proto';
import { describe, expect, it } from 'vitest';
import { add, conv, encodeModel, gemm, GraphBuilder, mul, relu } from './index.ts';
import { encodeSegments, type OutputGroup } from './model-segments.ts';

// That segments compute what the whole does is held by the trainer's step-graph.spec.ts, on the graphs it trains.

/** x → a → b → c, each the output `out.<name>`; c reads a too, and the parameter of its own. */
function chain(): GraphBuilder {
  const graph = new GraphBuilder('chain');
  const x = graph.input('x', 'float32', [2, 3]);
  const a = relu(x);
  const hidden = gemm(a, graph.parameter('w', [4, 3]), null, { transB: true });
  const b = mul(hidden, 2);
  const c = add(gemm(b, graph.parameter('v', [3, 4]), null, { transB: true }), a);
  graph.output('out.b', b);
  graph.output('out.a', a);
  graph.output('out.c', c);
  return graph;
}

const group = (...outputs: string[]): OutputGroup => ({ outputs });
const names = (list: readonly { readonly name: string }[]): string[] => list.map(({ name }) => name);

function shown(graph: GraphBuilder, groups: readonly OutputGroup[], segments?: number) {
  const encoded = encodeSegments(graph, groups, segments === undefined ? {} : { segments });
  const models = encoded.segments.map(({ model, completes }) => {
    const { node, input, output, initializer } = ModelProto.decode(model).graph!;
    const ops = node.map(({ opType }) => opType);
    return { ops, inputs: names(input), outputs: names(output), constants: initializer.length, completes };
  });
  return { models, passed: encoded.passed };
}

describe('encodeSegments', () => {
  it('ends a segment where a group is complete, and passes on what later ones read', () => {
    const { models, passed } = shown(chain(), [group('out.c'), group('out.b'), group('out.a')]);
    expect(models).toEqual([
      { ops: ['Relu'], inputs: ['x'], outputs: ['out.a'], constants: 0, completes: [2] },
      { ops: ['Gemm', 'Mul'], inputs: ['w', 'out.a'], outputs: ['out.b'], constants: 1, completes: [1] },
      { ops: ['Gemm', 'Add'], inputs: ['v', 'out.a', 'out.b'], outputs: ['out.c'], constants: 0, completes: [0] },
    ]);
    expect(passed).toEqual([
      { name: 'out.a', dtype: 'float32', shape: [2, 3], from: 0, until: 2 },
      { name: 'out.b', dtype: 'float32', shape: [2, 4], from: 1, until: 2 },
    ]);
  });

  it('passes on what is no output of the graph under its own name', () => {
    const graph = new GraphBuilder('g');
    const x = graph.input('x', 'float32', [6]);
    const [left, kept] = [relu(x), mul(x, 3)];
    graph.output('first', left);
    graph.output('second', add(kept, left));
    const { models, passed } = shown(graph, [group('first')]);
    expect(models).toHaveLength(1); // one group, at the end
    const cut = shown(graph, [group('first'), group('second')]);
    expect(cut.models.map(({ ops }) => ops)).toEqual([['Relu'], ['Mul', 'Add']]);
    expect(passed).toEqual([]);
    graph.output('third', relu(kept));
    const apart = shown(graph, [group('second'), group('third')]);
    expect(apart.models.map(({ outputs }) => outputs)).toEqual([['first', 'second', kept.name], ['third']]);
    expect(apart.models[1]!.inputs).toEqual([kept.name]);
    expect(names(apart.passed)).toEqual([kept.name]);
  });

  it('tells groups in one order whatever the number of segments, and never makes more', () => {
    const groups = [group('out.c'), group('out.b'), group('out.a'), group('unknown')];
    for (const segments of [0, 1, 2, 3, 4, 9]) {
      const { models } = shown(chain(), groups, segments);
      expect(models.length).toBeLessThanOrEqual(Math.max(1, segments));
      expect(models.flatMap(({ completes }) => completes)).toEqual([2, 1, 0, 3]);
      expect(models.flatMap(({ ops }) => ops)).toEqual(['Relu', 'Gemm', 'Mul', 'Gemm', 'Add']);
    }
    const apart = [{ ...group('out.a'), apart: true }, group('out.c'), group('out.b')];
    expect(shown(chain(), apart, 1).models.map(({ completes }) => completes)).toEqual([[0], [2, 1]]);
  });

  it('gives the bytes of the whole model where nothing is cut', () => {
    expect(encodeSegments(chain(), []).segments.map(({ model }) => model)).toEqual([encodeModel(chain())]);
    expect(encodeSegments(chain(), []).segments[0]!.completes).toEqual([]);
    expect(() => encodeSegments(new GraphBuilder('empty'), [])).toThrow('graph empty must have an output; got none');
  });

  it('cuts between blocked convolutions, whose blocked tensors are passed on', () => {
    const graph = new GraphBuilder('g');
    const x = graph.input('x', 'float32', [1, 16, 4, 4]);
    const kernel = graph.parameter('kernel', [16, 16, 3, 3]);
    const once = conv(x, kernel, null, { pads: [1, 1, 1, 1] });
    graph.output('once', once);
    graph.output('twice', conv(once, graph.parameter('other', [16, 16, 1, 1]), null));
    const { segments, passed } = encodeSegments(graph, [group('once'), group('twice')], { channelBlock: 16 });
    const ops = segments.map(({ model }) => ModelProto.decode(model).graph!.node.map(({ opType }) => opType));
    expect(ops.map((list) => list.filter((op) => op === 'Conv').length)).toEqual([1, 1]);
    expect(ops[1]).not.toContain('ReorderInput');
    expect(passed.map(({ name }) => name)).toEqual([`${once.name}.blocked`]);
  });

  it('gives a value under two names, and an input as an output', () => {
    const graph = new GraphBuilder('g');
    const x = graph.input('x', 'float32', [2]);
    const y = relu(x);
    graph.output('y', y);
    graph.output('z', mul(y, y));
    graph.output('same', y);
    graph.output('input', x);
    const { models } = shown(graph, [group('y', 'same'), group('z')]);
    expect(models.map(({ outputs }) => outputs)).toEqual([['y', 'same', 'input'], ['z']]);
    expect(models[0]!.ops).toEqual(['Relu', 'Identity', 'Identity']);
  });

  it('refuses to pass on what has no static shape', () => {
    const graph = new GraphBuilder('g');
    const y = relu(graph.input('x', 'float32', ['B', 2]));
    graph.output('y', y);
    graph.output('z', relu(y));
    expect(() => encodeSegments(graph, [group('y'), group('z')])).toThrow('B');
  });
});
