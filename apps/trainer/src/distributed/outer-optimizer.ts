/** How the outer step goes: DiLoCo's (arXiv 2311.08105, section 2) are 0.7 and 0.9. */
export interface OuterOptions {
  readonly outerLearningRate: number;
  /** Of Nesterov's momentum; 0 = none. */
  readonly outerMomentum: number;
}

/**
 * The outer optimiser: SGD with Nesterov's momentum on the mean delta, as `torch.optim.SGD(nesterov=True)` computes it:
 * m ← μ·m + δ; θ ← θ − η·(δ + μ·m). Each value is computed in float64 and rounded to float32 once, the same on every
 * machine.
 *
 * @param values the outer parameters θ, changed in place
 * @param momentum m, changed in place; starts as zeros
 * @param delta the mean of θ − (what a rank's local steps made of it)
 */
export function outerStep(
  values: Float32Array,
  momentum: Float32Array,
  delta: Float32Array,
  { outerLearningRate: rate, outerMomentum }: OuterOptions,
): void {
  for (let i = 0; i < values.length; i++) {
    const change = delta[i]!;
    const moving = Math.fround(outerMomentum * momentum[i]! + change);
    momentum[i] = moving;
    values[i] = values[i]! - rate * (change + outerMomentum * moving);
  }
}
