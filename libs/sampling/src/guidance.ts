import { invalidArgument } from '@clip-gen/errors';
import { validateGuidance } from './sampling-options.ts';

/**
 * Classifier-free guidance (Ho & Salimans, arXiv 2207.12598): `unconditional + scale · (conditional − unconditional)`.
 * Scale 1 copies the conditional logits exactly, 0 the unconditional.
 *
 * @param conditional (V), float32
 * @param unconditional (V), float32
 * @param scale in [0, 50]
 * @param out (V), receives the result; may be either input; returned
 * @throws invalid_argument for a scale out of bounds or lengths that differ
 */
export function combineGuidance(
  conditional: Float32Array,
  unconditional: Float32Array,
  scale: number,
  out: Float32Array,
): Float32Array {
  validateGuidance(scale);
  const size = conditional.length;
  if (unconditional.length !== size) {
    throw invalidArgument('unconditional', `of ${size} logits as conditional is`, unconditional.length);
  }
  if (out.length !== size) throw invalidArgument('out', `of ${size} logits as conditional is`, out.length);
  if (scale === 1) {
    out.set(conditional);
  } else {
    for (let i = 0; i < size; i++) out[i] = unconditional[i]! + scale * (conditional[i]! - unconditional[i]!);
  }
  return out;
}
