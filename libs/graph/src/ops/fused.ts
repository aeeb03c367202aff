import { ClipGenError } from '@clip-gen/errors';
import { float } from '../attribute.ts';
import { sameShape, showShape, type Dim, type Shape } from '../dim.ts';
import type { Value } from '../value.ts';
import { emitOne, requireDType, requireRank } from './check.ts';

/**
 * com.microsoft@1::BiasGelu: exact GELU of x + bias in one pass. No gradient.
 *
 * @param x float32 (…, C)
 * @param bias float32 (C)
 */
export function biasGelu(x: Value, bias: Value): Value {
  const op = 'BiasGelu';
  for (const value of [x, bias]) requireDType(op, value, 'float32');
  requireShape(op, bias, x.shape.slice(-1));
  return emitOne(op, [x, bias], {}, 'float32', x.shape);
}

/** What {@link skipLayerNormalization} gives: the sum of its inputs and that sum normalised, of the same shape. */
export interface SkippedNorm {
  readonly normalized: Value;
  readonly sum: Value;
}

/**
 * com.microsoft@1::SkipLayerNormalization: LayerNorm over the last axis of x + skip, in one pass. No gradient.
 *
 * @param x float32 (B, C)
 * @param skip float32 (B, C)
 * @param scale float32 (C)
 * @param bias float32 (C)
 */
export function skipLayerNormalization(x: Value, skip: Value, scale: Value, bias: Value, epsilon = 1e-5): SkippedNorm {
  const op = 'SkipLayerNormalization';
  for (const value of [x, skip, scale, bias]) requireDType(op, value, 'float32');
  requireRank(op, x, 2);
  requireShape(op, skip, x.shape);
  for (const value of [scale, bias]) requireShape(op, value, x.shape.slice(-1));
  const stats: Dim[] = [x.shape[0]!, 1];
  const [normalized, , , sum] = x.graph.emit(op, [x, skip, scale, bias], { epsilon: float(epsilon) }, [
    { dtype: 'float32', shape: x.shape },
    { dtype: 'float32', shape: stats }, // mean
    { dtype: 'float32', shape: stats }, // 1 / standard deviation
    { dtype: 'float32', shape: x.shape },
  ]);
  return { normalized: normalized!, sum: sum! };
}

function requireShape(op: string, value: Value, shape: Shape): void {
  if (sameShape(value.shape, shape)) return;
  throw new ClipGenError(
    'invalid_argument',
    `${op}: ${value.name} must have shape ${showShape(shape)}; got ${showShape(value.shape)}`,
  );
}
