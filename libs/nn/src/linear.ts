import { gemm, reshape, type Dim, type Value } from '@clip-gen/graph';
import { fanIn, type Initializer } from './initializer.ts';
import type { Scope } from './scope.ts';

/** How a linear layer starts. */
export interface LinearOptions {
  /** Default: {@link fanIn}. */
  readonly weight?: Initializer;
  /** Default: {@link fanIn} of the weight's inputs; null: no bias. */
  readonly bias?: Initializer | null;
}

/** PyTorch's Linear, y = x·Wᵀ + b over the last dimension: (…, in) → (…, out); `weight` (out, in), `bias` (out). */
export function linear(scope: Scope, x: Value, out: number, options: LinearOptions = {}): Value {
  const into = x.shape.at(-1) as number;
  const { weight = fanIn(into), bias = fanIn(into) } = options;
  const w = scope.parameter('weight', [out, into], weight);
  const b = bias ? scope.parameter('bias', [out], bias) : null;
  return project(x, w, b);
}

/** x·wᵀ + b over the last dimension, as one matrix product over all rows. w (out, in), b (out). */
export function project(x: Value, w: Value, b: Value | null): Value {
  const lead = x.shape.slice(0, -1);
  const out = w.shape[0]!;
  const rows = reshape(x, [productDim(lead), x.shape.at(-1)!]);
  return reshape(gemm(rows, w, b, { transB: true }), [...lead, out]);
}

/** The product of dimensions; with a named one, a new name such as `B*64`. */
export function productDim(dims: readonly Dim[]): Dim {
  const fixed = dims.reduce<number>((product, dim) => (typeof dim === 'number' ? product * dim : product), 1);
  const names = dims.filter((dim) => typeof dim === 'string');
  if (names.length === 0) return fixed;
  return fixed === 1 ? names.join('*') : `${names.join('*')}*${fixed}`;
}
