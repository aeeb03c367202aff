import { gradients } from '@clip-gen/autodiff';
import { add, clip, div, mul, neg, reduceMean, reduceSum, relu, sqrt, sub, type Value } from '@clip-gen/graph';

/** The discriminator's hinge loss ½(mean relu(1 − real) + mean relu(1 + fake)), a scalar. Lim and Ye, arXiv 1705.02894. */
export function hingeDiscriminator(real: Value, fake: Value): Value {
  return mul(add(reduceMean(relu(sub(1, real))), reduceMean(relu(add(fake, 1)))), 0.5);
}

/** The generator's side of it, −mean(fake), a scalar. */
export function hingeGenerator(fake: Value): Value {
  return neg(reduceMean(fake));
}

/** The weight, and the gradients that it was found from, to go on with. */
export interface AdaptiveWeight {
  /** ‖∇reconstruction‖ / (‖∇adversarial‖ + 1e-4) at the last layer, clamped to [0, 1e4]; a scalar. */
  readonly weight: Value;
  /** Gradient of the reconstruction loss at the picture. */
  readonly fromReconstruction: Value;
  /** Gradient of the adversarial loss at the picture. */
  readonly fromAdversarial: Value;
}

/**
 * The weight that balances the adversarial against the reconstruction loss (Esser et al., arXiv 2012.09841, eq. 7).
 * Both gradients are taken at the picture once and carried to `lastWeight` from there, so the discriminator is
 * differentiated a single time.
 *
 * @param picture the decoder's output, through which both losses depend on `lastWeight`
 * @param lastWeight weight of the decoder's last convolution
 */
export function adaptiveWeight(
  reconstruction: Value,
  adversarial: Value,
  picture: Value,
  lastWeight: Value,
): AdaptiveWeight {
  const [fromReconstruction] = gradients(reconstruction, [picture]) as [Value];
  const [fromAdversarial] = gradients(adversarial, [picture]) as [Value];
  const norm = (cotangent: Value): Value => {
    const [atWeight] = gradients([{ value: picture, cotangent }], [lastWeight]) as [Value];
    return sqrt(reduceSum(mul(atWeight, atWeight)));
  };
  const ratio = div(norm(fromReconstruction), add(norm(fromAdversarial), 1e-4));
  return { weight: clip(ratio, 0, 1e4), fromReconstruction, fromAdversarial };
}
