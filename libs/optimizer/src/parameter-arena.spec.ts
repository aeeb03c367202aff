import { expect, it } from 'vitest';
import { AdamW } from './adamw.ts';
import { planArena, type ParameterSpec } from './arena-layout.ts';
import { clipScale, globalNorm, gradientSquares } from './gradient-norm.ts';
import { ParameterArena } from './parameter-arena.ts';

const SPECS: ParameterSpec[] = [
  { name: 'a', shape: [3, 5], decay: true },
  { name: 'b', shape: [], decay: false },
  { name: 'c', shape: [100, 170], decay: true },
  { name: 'd', shape: [16], decay: false },
];

it('hands out aligned views that do not overlap and all start as 0', () => {
  const arena = new ParameterArena(SPECS, { averages: true, microGradients: true });
  const tensors = [
    arena.values,
    arena.gradients,
    arena.firstMoments,
    arena.secondMoments,
    arena.averages,
    arena.microGradients,
  ].flatMap((map) => [...map.values()]);
  expect(tensors.length).toBe(24);
  for (const { data } of tensors) {
    expect(data.byteOffset % 64).toBe(0);
    expect(data.every((x) => x === 0)).toBe(true);
  }
  for (const [index, { data }] of tensors.entries()) data.fill(index + 1);
  for (const [index, { data }] of tensors.entries()) expect(data.every((x) => x === index + 1)).toBe(true);
  expect(arena.byteLength).toBe(6 * 4 * (16 + 16 + 17008 + 16)); // 17000 padded to 17008
});

it('gives the same result over several memories as over one', () => {
  const results = [undefined, 65536].map((segmentBytes) => {
    const arena = new ParameterArena(SPECS, { averages: true, microGradients: true, segmentBytes });
    // c does not fit a 64 KiB segment and gets one of its own; d begins another.
    expect(arena.ranges('values').length).toBe(segmentBytes ? 3 : 1);
    let seed = 1;
    for (const map of [arena.values, arena.gradients, arena.microGradients]) {
      for (const { data } of map.values()) for (let i = 0; i < data.length; i++) data[i] = Math.sin(seed++);
    }
    const before = globalNorm(arena);
    arena.accumulateMicroGradients();
    arena.updateAverage(0);
    new AdamW(arena, { beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weightDecay: 0.1 }).step({ learningRate: 0.01 });
    arena.updateAverage(0.75);
    const lists = [arena.values, arena.averages, arena.gradients].map((map) =>
      [...map.values()].map((t) => [...t.data]),
    );
    return { before, after: globalNorm(arena), lists };
  });
  expect(results[1]).toEqual(results[0]);
});

it.each([undefined, 65536])('gives an array in buckets of whole parameters: segments of %s bytes', (segmentBytes) => {
  const arena = new ParameterArena(SPECS, { segmentBytes });
  let seed = 1;
  for (const { data } of arena.gradients.values()) for (let i = 0; i < data.length; i++) data[i] = Math.sin(seed++);
  const whole = arena.ranges('gradients').flatMap((range) => [...range]);
  for (const bytes of [1, 100, 2 ** 30]) {
    const buckets = arena.buckets('gradients', bytes);
    expect(buckets.flatMap(({ view }) => [...view])).toEqual(whole);
    const names = buckets.map(({ slices }) => slices.map(({ spec }) => spec.name));
    expect(names.flat()).toEqual(['a', 'b', 'c', 'd']);
    if (bytes === 1) expect(names).toHaveLength(4);
    if (bytes === 2 ** 30) expect(names).toHaveLength(segmentBytes ? 3 : 1);
    const squares = buckets.reduce((sum, { slices }) => gradientSquares(slices, sum), 0);
    expect(Math.sqrt(squares)).toBe(globalNorm(arena));
  }
  const growing = arena.buckets('gradients', 2 ** 30, 64).map(({ slices }) => slices.map(({ spec }) => spec.name));
  expect(growing.slice(0, 2)).toEqual([['a'], segmentBytes ? ['b'] : ['b', 'c']]);
  expect(() => arena.buckets('averages', 1)).toThrow('this arena has no averages');
});

it('accumulates, averages and clears', () => {
  const arena = new ParameterArena(SPECS, { averages: true, microGradients: true });
  const at = (map: ParameterArena['values']) => map.get('a')!.data;
  at(arena.gradients).fill(1.5);
  at(arena.microGradients).fill(0.25);
  arena.accumulateMicroGradients();
  arena.accumulateMicroGradients();
  expect([...at(arena.gradients)]).toEqual(new Array(15).fill(2));
  arena.microGradients.get('b')!.data[0] = 3;
  arena.accumulateMicroGradients(arena.slices.filter(({ spec }) => spec.name === 'b'));
  expect([arena.gradients.get('b')!.data[0], at(arena.gradients)[0]]).toEqual([3, 2]);
  arena.zeroGradients();
  expect(globalNorm(arena)).toBe(0);
  at(arena.values).fill(0.1);
  arena.updateAverage(0);
  expect([...at(arena.averages)]).toEqual([...at(arena.values)]);
  at(arena.values).fill(1.1);
  arena.updateAverage(0.75);
  expect(at(arena.averages)[14]).toBeCloseTo(0.35, 6);
  expect(() => arena.updateAverage(1.5)).toThrow('decay must be in [0, 1]; got 1.5');
});

it('sums the norm without overflow and over single groups', () => {
  const arena = new ParameterArena([
    { name: 'x', shape: [1000], decay: true, group: 'one' },
    { name: 'y', shape: [7], decay: true, group: 'two' },
  ]);
  arena.gradients.get('x')!.data.fill(1e30); // its square is past float32
  arena.gradients.get('y')!.data.fill(2);
  expect(globalNorm(arena) / (1e30 * Math.sqrt(1000))).toBeCloseTo(1, 7);
  expect(globalNorm(arena, ['two'])).toBeCloseTo(Math.sqrt(28), 12);
  expect(clipScale(4, 1)).toBe(0.25);
  expect(clipScale(0, 1)).toBe(1);
  expect(() => clipScale(1, -1)).toThrow('maxNorm must be a positive number; got -1');
});

it('plans 300M parameters over several memories and refuses what cannot fit, before allocating', () => {
  const layers = Array.from({ length: 24 }, (_, i) => ({ name: `w${i}`, shape: [12288, 1024], decay: true }));
  const layout = planArena(layers, { limitBytes: 2 ** 40 });
  expect(layout.arrayBytes.length).toBe(5); // 5 of 192 MiB each a segment
  expect(layout.totalBytes).toBe(24 * 12288 * 1024 * 16);
  expect(() => planArena(layers, { limitBytes: 2 ** 30 })).toThrow(
    'need 4.50 GiB for 4 float32 arrays; the limit is 1.00 GiB',
  );
  expect(() => planArena([{ name: 'big', shape: [2 ** 14, 2 ** 14], decay: true }], { limitBytes: 2 ** 40 })).toThrow(
    'parameter big [16384, 16384] needs 4.00 GiB',
  );
  expect(() => planArena([{ name: 'w', shape: [2 ** 30, 2 ** 30], decay: true }])).toThrow('shape of parameter w');
  expect(() => planArena([{ name: 'w', shape: [0], decay: true }])).toThrow('shape of parameter w');
  expect(() => planArena([SPECS[0]!, SPECS[0]!])).toThrow('parameters must be of different names; got "a"');
  expect(() => planArena([])).toThrow('at least one parameter');
});

it('says which option an array needs', () => {
  const arena = new ParameterArena(SPECS);
  expect(arena.averages.size).toBe(0);
  expect(() => arena.updateAverage(0.9)).toThrow('this arena has no averages: construct it with { averages: true }');
  expect(() => arena.accumulateMicroGradients()).toThrow('microGradients: true');
});
