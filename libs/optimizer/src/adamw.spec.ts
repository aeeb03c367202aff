import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { AdamW } from './adamw.ts';
import { ParameterArena, type FloatTensors } from './parameter-arena.ts';

type Lists = Record<string, number[]>;
interface Golden {
  shapes: Record<string, number[]>;
  cases: {
    name: string;
    beta1: number;
    beta2: number;
    epsilon: number;
    weightDecay: number;
    gradientScale: number;
    initial: Lists;
    steps: { learningRate: number; gradients: Lists; values?: Lists; firstMoments?: Lists; secondMoments?: Lists }[];
  }[];
}
// Written by tools/goldens/optimizer.py.
const golden = JSON.parse(readFileSync(new URL('../goldens/adamw.json', import.meta.url), 'utf8')) as Golden;

function fill(tensors: FloatTensors, lists: Lists): void {
  for (const [name, list] of Object.entries(lists)) tensors.get(name)!.data.set(list);
}

/** Largest |a − b| / |b|; elements that cancelled to under 1 % of their tensor's largest are held against that 1 %. */
function relativeError(tensors: FloatTensors, lists: Lists): number {
  let worst = 0;
  for (const [name, list] of Object.entries(lists)) {
    const { data } = tensors.get(name)!;
    expect(data.length).toBe(list.length);
    const least = Math.max(...list.map(Math.abs)) / 100;
    for (const [i, want] of list.entries()) {
      worst = Math.max(worst, Math.abs(data[i]! - want) / Math.max(Math.abs(want), least));
    }
  }
  return worst;
}

function arenaOf(groups: Record<string, string> = {}): ParameterArena {
  const specs = Object.entries(golden.shapes).map(([name, shape]) => {
    return { name, shape, decay: name === 'weight', group: groups[name] };
  });
  return new ParameterArena(specs);
}

describe.each(golden.cases)('against PyTorch: $name', (given) => {
  it('agrees to 1e-6 relative after one and ten steps, also across a saved state', () => {
    let arena = arenaOf();
    fill(arena.values, given.initial);
    let optimizer = new AdamW(arena, given);
    for (const [index, step] of given.steps.entries()) {
      fill(arena.gradients, step.gradients);
      const result = optimizer.step({ learningRate: step.learningRate, gradientScale: given.gradientScale });
      expect(result.skipped).toBe(false);
      if (step.values) {
        expect(relativeError(arena.values, step.values)).toBeLessThan(1e-6);
        expect(relativeError(arena.firstMoments, step.firstMoments!)).toBeLessThan(1e-6);
        expect(relativeError(arena.secondMoments, step.secondMoments!)).toBeLessThan(1e-6);
      }
      if (index === 4) {
        const resumed = arenaOf();
        for (const kind of ['values', 'firstMoments', 'secondMoments'] as const) {
          for (const [name, { data }] of arena[kind]) resumed[kind].get(name)!.data.set(data);
        }
        const state = JSON.parse(JSON.stringify(optimizer.state())) as ReturnType<AdamW['state']>;
        expect(state.steps).toEqual({ default: 5 });
        optimizer = new AdamW(resumed, given);
        optimizer.restore(state);
        arena = resumed;
      }
    }
  });
});

const OPTIONS = { beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weightDecay: 0.01 };

it('steps one group and leaves the other untouched', () => {
  const arena = arenaOf({ weight: 'trunk', bias: 'head' });
  for (const range of [...arena.ranges('values'), ...arena.ranges('gradients')]) range.fill(1);
  const optimizer = new AdamW(arena, OPTIONS);
  optimizer.step({ learningRate: 0.1, groups: ['head'] });
  expect(arena.values.get('bias')!.data[18]).toBeCloseTo(0.9, 5);
  expect([...arena.values.get('weight')!.data]).toEqual(new Array(35).fill(1));
  expect(optimizer.state()).toEqual({ steps: { trunk: 0, head: 1 } });
  expect(() => optimizer.step({ learningRate: 0.1, groups: ['tail'] })).toThrow('its groups: trunk, head');
});

it.each([NaN, Infinity, -Infinity])('skips a step whose gradients hold %s', (bad) => {
  const arena = arenaOf();
  const optimizer = new AdamW(arena, OPTIONS);
  arena.values.get('bias')!.data.fill(2);
  arena.gradients.get('bias')!.data[18] = bad;
  const { skipped, norm } = optimizer.step({ learningRate: 0.1, maxNorm: 1 });
  expect(skipped).toBe(true);
  expect(norm).toBe(Math.abs(bad));
  expect([...arena.values.get('bias')!.data]).toEqual(new Array(19).fill(2));
  expect(optimizer.state()).toEqual({ steps: { default: 0 } });
});

it('clips the norm after scaling', () => {
  const clipped = arenaOf();
  const scaled = arenaOf();
  for (const arena of [clipped, scaled]) {
    arena.gradients.get('weight')!.data.fill(3);
    arena.gradients.get('bias')!.data.fill(-1);
  }
  const norm = Math.sqrt(35 * 9 + 19);
  const result = new AdamW(clipped, OPTIONS).step({ learningRate: 0.1, gradientScale: 0.5, maxNorm: 2 });
  expect(result.norm).toBeCloseTo(norm / 2, 12);
  expect(result.clip).toBeCloseTo(4 / norm, 12);
  new AdamW(scaled, OPTIONS).step({ learningRate: 0.1, gradientScale: 2 / norm });
  const want = Object.fromEntries([...scaled.firstMoments].map(([name, { data }]) => [name, [...data]]));
  expect(relativeError(clipped.firstMoments, want)).toBeLessThan(1e-6);
});

it('lets the moments of an element without gradient end at 0, not in subnormals', () => {
  const arena = arenaOf();
  const optimizer = new AdamW(arena, { ...OPTIONS, beta2: 0.5 });
  arena.gradients.get('bias')!.data.fill(1e-15);
  optimizer.step({ learningRate: 0 });
  arena.zeroGradients();
  for (let i = 0; i < 600; i++) optimizer.step({ learningRate: 0 });
  expect(arena.firstMoments.get('bias')!.data[0]).toBe(0);
  expect(arena.secondMoments.get('bias')!.data[0]).toBe(0);
});

it('names the option that is out of bounds', () => {
  const arena = arenaOf();
  expect(() => new AdamW(arena, { ...OPTIONS, beta1: 1 })).toThrow('beta1 must be in [0, 1); got 1');
  expect(() => new AdamW(arena, { ...OPTIONS, epsilon: 0 })).toThrow('epsilon must be');
  const optimizer = new AdamW(arena, OPTIONS);
  expect(() => optimizer.step({ learningRate: NaN })).toThrow('learningRate must be at least 0; got NaN');
  expect(() => optimizer.step({ learningRate: 1, maxNorm: 0 })).toThrow('maxNorm');
  expect(() => optimizer.step({ learningRate: 1, gradientScale: Infinity })).toThrow('gradientScale');
  expect(() => optimizer.restore({ steps: { other: 1 } })).toThrow('has groups other; this model has default');
  expect(() => optimizer.restore({ steps: { default: -1 } })).toThrow('got -1');
});
