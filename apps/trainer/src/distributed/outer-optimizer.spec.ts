import { expect, it } from 'vitest';
import { outerStep } from './outer-optimizer.ts';

it('is the closed form of Nesterov’s momentum under a constant delta', () => {
  const [rate, mu, delta, rounds] = [0.7, 0.9, 0.25, 12];
  const values = Float32Array.of(3, -1);
  const momentum = new Float32Array(2);
  for (let round = 0; round < rounds; round++) {
    outerStep(values, momentum, Float32Array.of(delta, -delta), { outerLearningRate: rate, outerMomentum: mu });
  }
  // m_k = δ·(1 − μ^k)/(1 − μ); θ falls by η·Σ (δ + μ·m_k)
  const geometric = (mu * (1 - mu ** rounds)) / (1 - mu);
  const moved = rate * delta * (rounds + (mu / (1 - mu)) * (rounds - geometric));
  expect(momentum[0]).toBeCloseTo((delta * (1 - mu ** rounds)) / (1 - mu), 5);
  expect(values[0]).toBeCloseTo(3 - moved, 4);
  expect(values[1]).toBeCloseTo(-1 + moved, 4);
});

it('with a rate of 1 and no momentum goes where the mean delta points', () => {
  const values = Float32Array.of(1, 2, 3);
  outerStep(values, new Float32Array(3), Float32Array.of(0.5, -0.25, 0), { outerLearningRate: 1, outerMomentum: 0 });
  expect([...values]).toEqual([0.5, 2.25, 3]);
});
