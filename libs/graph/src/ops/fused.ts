import { ClipGenError } from '@clip-gen/errors';
import { sameShape, showShape, type Shape } from '../dim.ts';
import type { Value } from '../value.ts';
import { emitOne, requireDType } from './check.ts';

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

function requireShape(op: string, value: Value, shape: Shape): void {
  if (sameShape(value.shape, shape)) return;
  throw new ClipGenError(
    'invalid_argument',
    `${op}: ${value.name} must have shape ${showShape(shape)}; got ${showShape(value.shape)}`,
  );
}
