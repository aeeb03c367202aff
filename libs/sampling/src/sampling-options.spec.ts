import { expect, it } from 'vitest';
import { combineGuidance } from './guidance.ts';
import { validateSampling, type SamplingOptions } from './sampling-options.ts';

it('fills in what is left out', () => {
  const all = { temperature: 1, topK: 16384, topP: 1, guidance: 1 };
  expect(validateSampling({ temperature: 1 }, 16384)).toEqual(all);
  expect(validateSampling({ temperature: 1, topK: 0 }, 16384)).toEqual(all);
  const bounds = { temperature: 10, topK: 16384, topP: 1, guidance: 50 };
  expect(validateSampling(bounds, 16384)).toEqual(bounds);
});

it.each([
  [{ temperature: -0.1 }, 'temperature must be in [0, 10]; got -0.1'],
  [{ temperature: NaN }, 'temperature must be in [0, 10]; got NaN'],
  [{ temperature: 10.5 }, 'temperature must be in [0, 10]; got 10.5'],
  [{ temperature: 1, topK: 16385 }, 'topK must be an integer in [1, 16384], or 0 for off; got 16385'],
  [{ temperature: 1, topK: -1 }, 'topK must be'],
  [{ temperature: 1, topK: 1.5 }, 'topK must be'],
  [{ temperature: 1, topK: NaN }, 'topK must be'],
  [{ temperature: 1, topP: 0 }, 'topP must be in (0, 1]; got 0'],
  [{ temperature: 1, topP: 1.01 }, 'topP must be in (0, 1]; got 1.01'],
  [{ temperature: 1, guidance: 51 }, 'guidance must be in [0, 50]; got 51'],
  [{ temperature: 1, guidance: Infinity }, 'guidance must be'],
] as [SamplingOptions, string][])('refuses %j', (options, message) => {
  expect(() => validateSampling(options, 16384)).toThrow(message);
});

it('combines by classifier-free guidance, also in place', () => {
  const conditional = Float32Array.of(1, 2, -3);
  const unconditional = Float32Array.of(0, 1, 1);
  const out = new Float32Array(3);
  expect([...combineGuidance(conditional, unconditional, 3, out)]).toEqual([3, 4, -11]);
  expect([...combineGuidance(conditional, unconditional, 0, out)]).toEqual([0, 1, 1]);
  expect([...combineGuidance(conditional, unconditional, 1, out)]).toEqual([1, 2, -3]);
  expect([...combineGuidance(conditional, unconditional, 3, conditional)]).toEqual([3, 4, -11]);
  expect(() => combineGuidance(conditional, new Float32Array(2), 3, out)).toThrow('unconditional must be of 3 logits');
  expect(() => combineGuidance(conditional, unconditional, -1, out)).toThrow('guidance must be in [0, 50]; got -1');
});
