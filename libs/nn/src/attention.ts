import {
  add,
  fusedMatMul,
  matMul,
  reshape,
  softmax,
  split,
  transpose,
  type GraphBuilder,
  type Value,
} from '@clip-gen/graph';
import { ClipGenError } from '@clip-gen/errors';
import { tensor } from '@clip-gen/tensor';
import { fanIn, xavier, zeros, type Initializer } from './initializer.ts';
import { linear, project } from './linear.ts';
import type { Scope } from './scope.ts';

/** Of {@link selfAttention}. */
export interface AttentionOptions {
  /** H; must divide the width C. */
  readonly heads: number;
  /** Position t sees positions 0…t only. */
  readonly causal?: boolean;
  /** Start of `in_proj_weight`; by default Glorot's, as in PyTorch. */
  readonly inProjection?: Initializer;
  /** Start of `out_proj.weight`. */
  readonly outProjection?: Initializer;
}

/**
 * Self-attention (Vaswani et al., arXiv 1706.03762) with the parameters of PyTorch's MultiheadAttention: (B, T, C) →
 * (B, T, C); `in_proj_weight` (3C, C) holds the rows of q, k, v in this order; the scale is 1/√D.
 */
export function selfAttention(scope: Scope, x: Value, options: AttentionOptions): Value {
  const [batch, length, width] = x.shape as [number | string, number, number];
  const { heads, causal = false } = options;
  if (width % heads !== 0) throw new ClipGenError('invalid_argument', `heads must divide ${width}; got ${heads}`);
  const size = width / heads;
  const weight = scope.parameter(
    'in_proj_weight',
    [3 * width, width],
    options.inProjection ?? xavier(width, 3 * width),
  );
  const bias = scope.parameter('in_proj_bias', [3 * width], zeros);
  const packed = reshape(project(x, weight, bias), [batch, length, 3, heads, size]);
  const parts = transpose(packed, [2, 0, 3, 1, 4]); // (3, B, H, T, D)
  const [q, k, v] = split(parts, 0, 3).map((part) => reshape(part, [batch, heads, length, size])) as [
    Value,
    Value,
    Value,
  ]; // (B, H, T, D)
  const scores = fusedMatMul(q, k, { transB: true, alpha: 1 / Math.sqrt(size) }); // (B, H, T, T)
  const weights = softmax(causal ? add(scores, causalMask(x, length)) : scores, -1);
  const mixed = reshape(transpose(matMul(weights, v), [0, 2, 1, 3]), [batch, length, width]);
  return linear(scope.child('out_proj'), mixed, width, {
    weight: options.outProjection ?? fanIn(width),
    bias: zeros,
  });
}

/** The masks of each graph by length: all layers share one. */
const masks = new WeakMap<GraphBuilder, Map<number, Value>>();

/** (T, T): 0 on and below the diagonal, −∞ above. */
function causalMask({ graph }: Value, length: number): Value {
  const byLength = masks.get(graph) ?? new Map<number, Value>();
  masks.set(graph, byLength);
  const known = byLength.get(length);
  if (known) return known;
  const mask = new Float32Array(length * length);
  for (let i = 0; i < length; i++) mask.fill(-Infinity, i * length + i + 1, (i + 1) * length);
  const value = graph.constant(tensor('float32', [length, length], mask));
  byLength.set(length, value);
  return value;
}
