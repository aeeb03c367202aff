import {
  argMax,
  cast,
  cos,
  gather,
  GraphBuilder,
  groupNormalization,
  mul,
  neg,
  pow,
  reduceSum,
  relu,
  split,
  stopGradient,
  sub,
  type Value,
} from '@clip-gen/graph';
import { tensor } from '@clip-gen/tensor';
import { runGraph } from '@clip-gen/testing';
import { describe, expect, it } from 'vitest';
import { gradients } from './gradients.ts';

function vector(): { graph: GraphBuilder; x: Value } {
  const graph = new GraphBuilder('g');
  return { graph, x: graph.input('x', 'float32', [3]) };
}

const X = tensor('float32', [3], Float32Array.of(1, -2, 3));

describe('gradients', () => {
  it('adds up the ways by which a value is used', async () => {
    const { graph, x } = vector();
    // f = Σ x² + x·x³ → 2x + 4x³
    graph.output('dx', gradients(reduceSum(sub(mul(x, x), neg(mul(x, mul(x, mul(x, x)))))), [x])[0]!);
    expect((await runGraph(graph, { x: X }))['dx']!.data).toEqual(X.data.map((v) => 2 * v + 4 * v ** 3));
  });

  it('adds up several targets, each with its cotangent', async () => {
    const { graph, x } = vector();
    const [a, b] = [mul(x, 2), mul(x, x)];
    const targets = [{ value: a, cotangent: x }, { value: reduceSum(b) }];
    graph.output('dx', gradients(targets, [x])[0]!); // 2·x + 2x
    expect((await runGraph(graph, { x: X }))['dx']!.data).toEqual(X.data.map((v) => 4 * v));
  });

  it('gives zeros to the parts of a split that are not used', async () => {
    const { graph, x } = vector();
    const [, middle] = split(x, 0, 3);
    graph.output('dx', gradients(reduceSum(mul(middle!, middle!)), [x])[0]!);
    expect([...(await runGraph(graph, { x: X }))['dx']!.data]).toEqual([0, -4, 0]);
  });

  it('can be asked for a value in between and for what lies before it', async () => {
    const { graph, x } = vector();
    const middle = mul(x, 3);
    const [atMiddle, atX] = gradients(reduceSum(mul(middle, middle)), [middle, x]) as [Value, Value];
    graph.output('middle', atMiddle); // 2·3x
    graph.output('dx', atX); // 3·2·3x
    const results = await runGraph(graph, { x: X });
    expect(results['middle']!.data).toEqual(X.data.map((v) => 6 * v));
    expect(results['dx']!.data).toEqual(X.data.map((v) => 18 * v));
  });

  it('does not flow through stopGradient, comparisons and arg max', () => {
    const { graph, x } = vector();
    const hidden = cast(argMax(x), 'float32');
    const loss = reduceSum(mul(stopGradient(relu(x)), hidden));
    expect(() => gradients(loss, [x])).toThrow('no gradient flows to x');
    expect(() => gradients(reduceSum(x), [graph.parameter('w', [2])])).toThrow('no gradient flows to w');
  });

  it('adds no node for a side that nobody asked for', () => {
    const { graph, x } = vector();
    const w = graph.parameter('w', [3]);
    const loss = reduceSum(mul(x, w));
    const before = graph.nodes.length;
    gradients(loss, [w]);
    const added = graph.nodes.slice(before);
    expect(added.filter(({ op }) => op === 'Mul')).toHaveLength(1);
  });

  it.each<readonly [string, (x: Value) => Value]>([
    ['Cos is an inference operator and has no gradient', (x) => reduceSum(cos(x))],
    ['Pow has no gradient for its exponent', (x) => reduceSum(pow(x.graph.scalar(2), x))],
    ['a target without cotangent must be a scalar; got [3]', (x) => mul(x, 2)],
  ])('refuses: %s', (message, loss) => {
    const { x } = vector();
    expect(() => gradients(loss(x), [x])).toThrow(message);
  });

  it('refuses the second result of an operator, whose rule knows the first only', () => {
    const graph = new GraphBuilder('g');
    const x = graph.input('x', 'float32', [1, 2, 2, 2]);
    const y = groupNormalization(x, 1, graph.parameter('s', [2]), graph.parameter('b', [2]));
    const mean = y.producer!.outputs[1]!;
    expect(() => gradients(reduceSum(mean), [x])).toThrow('only the first result of GroupNormalization has a gradient');
  });

  it('refuses named dimensions where a rule needs sizes', () => {
    const graph = new GraphBuilder('g');
    const x = graph.input('x', 'float32', ['B', 3]);
    expect(() => gradients(reduceSum(mul(x, x)), [x])).toThrow('needs a static shape; got [B, 3]');
  });
});

describe('the gradient of an embedding', () => {
  // On several threads ScatterND loses additions that meet; this many meet in every row.
  it('counts every use of a row, on any number of threads', async () => {
    const [rows, width, count] = [4, 32, 20_000];
    const graph = new GraphBuilder('g');
    const table = graph.parameter('table', [rows, width]);
    const indices = graph.input('indices', 'int64', [count]);
    graph.output('d', gradients(reduceSum(gather(table, indices)), [table])[0]!);
    const feeds = {
      indices: tensor(
        'int64',
        [count],
        BigInt64Array.from({ length: count }, (_, i) => BigInt((i * i) % 3)),
      ),
    };
    const uses = [0, 1, 2, 3].map((row) => feeds.indices.data.filter((index) => Number(index) === row).length);
    for (const threads of [1, 4]) {
      const { d } = await runGraph(graph, feeds, { session: { threads } });
      expect(d!.data).toEqual(Float32Array.from({ length: rows * width }, (_, i) => uses[Math.floor(i / width)]!));
    }
  });
});
