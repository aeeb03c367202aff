import { ClipGenError, invalidArgument } from '@clip-gen/errors';
import type { BlockFormat } from '@clip-gen/graph';
import { blocksOf, zeroPoint } from './block-format.ts';
import type { Matrix } from './block-scales.ts';

/** Share of the mean square that every activation is taken to have besides: few examples leave directions unseen. */
const DAMPING = 0.01;

/**
 * Moves the weights of a matrix so that rounding each to the nearest multiple of its scale leaves the least error in the
 * layer's *output*, Σ |x·(W − Ŵ)ᵀ|² over examples x: each weight in turn takes over what the rounding of those before it has
 * done wrong, as far as activations go together (GPTQ: Frantar et al., arXiv 2210.17323, in the order of columns).
 *
 * With H = Σ xᵀx = R·Rᵀ, R upper triangular, the error of a row is Σ_j (R_jj·e_j + Σ_{i<j} R_ij·e_i)², e = w − ŵ; its terms
 * are made small one after the other, which is Babai's nearest plane and the same as GPTQ's elimination.
 *
 * @param scales float32 (N, blocks), of the matrix
 * @param gram float32 (K, K): Σ xᵀx over examples; not changed
 * @returns the matrix of multiples of the scales, Ŵ (N, K), the caller's
 * @throws invalid_argument for a gram of another size; failed_precondition for one that is not finite
 */
export function compensatedRounding(
  matrix: Matrix,
  format: BlockFormat,
  scales: Float32Array,
  gram: Float32Array,
): Matrix {
  const { rows, columns, data } = matrix;
  const { blockSize } = format;
  const [blocks, zero] = [blocksOf(columns, format), zeroPoint(format)];
  const factor = triangularFactor(gram, columns);
  const rounded = new Float32Array(rows * columns);
  const errors = new Float64Array(columns);
  for (let row = 0; row < rows; row++) {
    for (let j = 0; j < columns; j++) {
      const at = j * columns;
      let carried = 0;
      for (let i = 0; i < j; i++) carried += factor[at + i]! * errors[i]!;
      const scale = scales[row * blocks + Math.floor(j / blockSize)]!;
      const weight = data[row * columns + j]!;
      const wanted = weight + carried / factor[at + j]!;
      const q = scale === 0 ? 0 : Math.max(-zero, Math.min(zero - 1, Math.round(wanted / scale)));
      rounded[row * columns + j] = q * scale;
      errors[j] = weight - q * scale;
    }
  }
  return { rows, columns, data: rounded };
}

/** Mean square of each activation from the diagonal of a gram matrix, up to a factor: what an error of a weight costs. */
export function activationImportance(gram: Float32Array, columns: number): Float32Array {
  const importance = Float32Array.from({ length: columns }, (_, k) => gram[k * columns + k]!);
  const mean = importance.reduce((sum, value) => sum + value, 0) / columns;
  return importance.map((value) => value + DAMPING * mean);
}

/** Rᵀ for gram + damping = R·Rᵀ with R upper triangular, row-major: row j has R_ij for i ≤ j. */
function triangularFactor(gram: Float32Array, size: number): Float64Array {
  if (gram.length !== size * size) throw invalidArgument('gram', `${size} × ${size} numbers`, gram.length);
  let trace = 0;
  for (let i = 0; i < size; i++) trace += gram[i * size + i]!;
  if (!Number.isFinite(trace))
    throw new ClipGenError('failed_precondition', 'activations must be finite to compensate');
  const damping = trace > 0 ? (DAMPING * trace) / size : 1;
  // R by rows from the last to the first: R_ij = (H_ij − Σ_{k>j} R_ik·R_jk) / R_jj.
  const upper = new Float64Array(size * size);
  for (let i = size - 1; i >= 0; i--) {
    for (let j = size - 1; j >= i; j--) {
      let sum = gram[i * size + j]! + (i === j ? damping : 0);
      for (let k = j + 1; k < size; k++) sum -= upper[i * size + k]! * upper[j * size + k]!;
      // Damping keeps the pivots away from zero but for the rounding of a float32 gram.
      upper[i * size + j] = i === j ? Math.sqrt(Math.max(sum, damping * 1e-6)) : sum / upper[j * size + j]!;
    }
  }
  const factor = new Float64Array(size * size);
  for (let j = 0; j < size; j++) for (let i = 0; i <= j; i++) factor[j * size + i] = upper[i * size + j]!;
  return factor;
}
