import { GraphBuilder } from '@clip-gen/graph';
import { describe, expect, it } from 'vitest';
import {
  constant,
  fanIn,
  initialize,
  normal,
  ones,
  uniform,
  xavier,
  zeros,
  type ParameterSpec,
} from './initializer.ts';
import { linear } from './linear.ts';
import { Scope } from './scope.ts';

const specs: readonly ParameterSpec[] = [
  { name: 'a.weight', shape: [7, 5], initializer: normal(0.5) },
  { name: 'a.bias', shape: [7], initializer: uniform(0.25) },
  { name: 'b.weight', shape: [5, 7], initializer: normal(0.5) },
  { name: 'norm.weight', shape: [4], initializer: ones },
  { name: 'scale', shape: [], initializer: constant(2.5) },
];

describe('initialize', () => {
  it('gives the same values for a seed, others for another', () => {
    expect(initialize(specs, 7)).toEqual(initialize(specs, 7));
    expect(initialize(specs, 8).get('a.weight')).not.toEqual(initialize(specs, 7).get('a.weight'));
  });

  it('depends on neither the order nor the other parameters', () => {
    const all = initialize(specs, 7);
    for (const [name, value] of initialize([...specs].reverse(), 7)) expect(value).toEqual(all.get(name));
    for (const spec of specs) expect(initialize([spec], 7).get(spec.name)).toEqual(all.get(spec.name));
  });

  it('gives parameters of one shape different values', () => {
    const same = (name: string): ParameterSpec => ({ name, shape: [35], initializer: normal(1) });
    const values = initialize([same('x'), same('y')], 7);
    expect(values.get('x')).not.toEqual(values.get('y'));
  });

  it('fills constants', () => {
    const values = initialize(specs, 7);
    expect(values.get('norm.weight')!.data).toEqual(Float32Array.of(1, 1, 1, 1));
    expect(values.get('scale')).toEqual({ dtype: 'float32', shape: [], data: Float32Array.of(2.5) });
    expect(initialize([{ name: 'z', shape: [2], initializer: zeros }], 1).get('z')!.data).toEqual(new Float32Array(2));
  });
});

describe('the distributions', () => {
  const count = 1 << 16;
  const draw = (initializer: ParameterSpec['initializer']): Float32Array =>
    initialize([{ name: 'x', shape: [256, 256], initializer }], 3).get('x')!.data;
  const moment = (values: Float32Array, power: number): number =>
    values.reduce((sum, value) => sum + value ** power, 0) / values.length;
  // Five standard errors of each moment: a wrong generator is far outside, a right one stays in for this seed and most.
  const error = (variance: number): number => 5 * Math.sqrt(variance / count);

  it('normal: mean 0, variance std², fourth moment 3·std⁴', () => {
    const values = draw(normal(0.02)).map((value) => value / 0.02);
    expect(Math.abs(moment(values, 1))).toBeLessThan(error(1));
    expect(Math.abs(moment(values, 2) - 1)).toBeLessThan(error(2));
    expect(Math.abs(moment(values, 3))).toBeLessThan(error(15));
    expect(Math.abs(moment(values, 4) - 3)).toBeLessThan(error(96));
  });

  it('uniform: inside the bound, mean 0, variance bound²/3', () => {
    const values = draw(uniform(0.25)).map((value) => value / 0.25);
    expect(values.every((value) => value >= -1 && value <= 1)).toBe(true);
    expect(values.some((value) => value > 0.999) && values.some((value) => value < -0.999)).toBe(true);
    expect(Math.abs(moment(values, 1))).toBeLessThan(error(1 / 3));
    expect(Math.abs(moment(values, 2) - 1 / 3)).toBeLessThan(error(4 / 45));
  });

  it('fanIn and xavier have PyTorch’s bounds', () => {
    expect(fanIn(64)).toEqual({ kind: 'uniform', bound: 1 / 8 });
    expect(xavier(24, 72)).toEqual({ kind: 'uniform', bound: 0.25 });
  });
});

describe('Scope', () => {
  it('names by path and remembers shared parameters once', () => {
    const graph = new GraphBuilder('g');
    const scope = new Scope(graph);
    const x = graph.input('x', 'float32', ['B', 3]);
    linear(scope.child('mlp').child(0), x, 4);
    linear(scope.child('mlp').child(0), x, 4);
    expect(scope.specs.map(({ name, shape }) => [name, shape])).toEqual([
      ['mlp.0.weight', [4, 3]],
      ['mlp.0.bias', [4]],
    ]);
    expect(scope.specs.map(({ name }) => name)).toEqual(graph.parameters.map(({ name }) => name));
  });
});
