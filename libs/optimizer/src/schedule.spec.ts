import { expect, it } from 'vitest';
import { defaultDecay } from './default-decay.ts';
import { warmupConstant, warmupCosine } from './schedule.ts';

it('rises linearly, falls as a cosine and stays at the floor', () => {
  const rate = warmupCosine({ peak: 8, warmupSteps: 4, totalSteps: 104, floor: 2 });
  expect([0, 1, 2, 3].map(rate)).toEqual([2, 4, 6, 8]);
  expect(rate(4)).toBe(8);
  expect(rate(54)).toBeCloseTo(5, 12); // half way: the mean of peak and floor
  expect(rate(29)).toBeCloseTo(5 + 3 * Math.SQRT1_2, 12); // cos 45°
  expect(rate(104)).toBeCloseTo(2, 12);
  expect(rate(1000)).toBeCloseTo(2, 12);
});

it('begins at the peak without a warm-up and ends at 0 by default', () => {
  const rate = warmupCosine({ peak: 1e-3, warmupSteps: 0, totalSteps: 10 });
  expect(rate(0)).toBe(1e-3);
  expect(rate(10)).toBeCloseTo(0, 18);
  expect(() => warmupCosine({ peak: 1, warmupSteps: 10, totalSteps: 10 })).toThrow(
    'warmupSteps must be an integer in [0, 10)',
  );
  expect(() => warmupCosine({ peak: 1, warmupSteps: 0, totalSteps: 10, floor: 2 })).toThrow(
    'floor must be in [0, 1]; got 2',
  );
});

it.each([
  ['blocks.0.encoder.self_attn.in_proj_weight', [3072, 1024], true],
  ['blocks.0.encoder.linear1.weight', [4096, 1024], true],
  ['head.weight', [16384, 1024], true],
  ['cond_proj.weight', [1024, 512], true],
  ['decoder.conv_in.weight', [512, 256, 3, 3], true],
  ['blocks.0.encoder.self_attn.in_proj_bias', [3072], false],
  ['blocks.0.encoder.norm1.weight', [1024], false],
  ['tok_emb.weight', [16384, 1024], false],
  ['pos_emb', [1, 256, 1024], false],
  ['positional_embedding', [77, 512], false],
  ['quantize.embedding.weight', [1024, 256], false],
  ['logit_scale', [], false],
] as [string, number[], boolean][])('decay of %s %j: %s', (name, shape, decay) => {
  expect(defaultDecay(name, shape)).toBe(decay);
});

it('rises as the cosine does and then stays', () => {
  const rate = warmupConstant({ peak: 8, warmupSteps: 4 });
  expect([0, 1, 2, 3, 4, 1e6].map(rate)).toEqual([2, 4, 6, 8, 8, 8]);
  expect(warmupConstant({ peak: 8, warmupSteps: 0 })(0)).toBe(8);
  expect(() => warmupConstant({ peak: 8, warmupSteps: -1 })).toThrow('warmupSteps must be an integer of at least 0');
  expect(() => warmupConstant({ peak: Infinity, warmupSteps: 1 })).toThrow('peak must be a positive number');
});
