import { ClipGenError } from '@clip-gen/errors';
import { float, int } from '../attribute.ts';
import { normalizeAxis, showShape, staticDim, type Dim } from '../dim.ts';
import type { Value } from '../value.ts';
import { requireDType, requireRank } from './check.ts';
import { emitOne, first } from './check.ts';
import { add, div, mul, sqrt, sub } from './elementwise.ts';
import { reduceMean } from './reduce.ts';
import { reshape } from './shape.ts';

/** ai.onnx@13::Softmax along `axis`. */
export function softmax(x: Value, axis = -1): Value {
  return emitOne('Softmax', [x], { axis: int(normalizeAxis(axis, x.shape.length, 'Softmax')) }, x.dtype, x.shape);
}

/** ai.onnx@13::LogSoftmax along `axis`. */
export function logSoftmax(x: Value, axis = -1): Value {
  return emitOne('LogSoftmax', [x], { axis: int(normalizeAxis(axis, x.shape.length, 'LogSoftmax')) }, x.dtype, x.shape);
}

/** ai.onnx@17::LayerNormalization over the last axis; scale and bias of shape (C). */
export function layerNormalization(x: Value, scale: Value, bias: Value, epsilon = 1e-5): Value {
  requireDType('LayerNormalization', x, 'float32');
  const width = x.shape.at(-1);
  for (const parameter of [scale, bias]) {
    if (parameter.shape.length !== 1 || parameter.shape[0] !== width) {
      throw new ClipGenError(
        'invalid_argument',
        `LayerNormalization: scale and bias must have shape [${String(width)}]; got ${showShape(parameter.shape)}`,
      );
    }
  }
  const stats: Dim[] = [...x.shape.slice(0, -1), 1];
  const outputs = x.graph.emit('LayerNormalization', [x, scale, bias], { axis: int(-1), epsilon: float(epsilon) }, [
    { dtype: 'float32', shape: x.shape },
    { dtype: 'float32', shape: stats }, // mean
    { dtype: 'float32', shape: stats }, // 1 / standard deviation
  ]);
  return first(outputs);
}

/**
 * Group normalisation of (B, C, H, W) with `groups` groups (Wu and He, arXiv 1803.08494); scale and bias of shape (C).
 * A composite: second and third results are the group means and inverse standard deviations, (B, G, 1).
 */
export function groupNormalization(x: Value, groups: number, scale: Value, bias: Value, epsilon = 1e-5): Value {
  requireRank('GroupNormalization', x, 4);
  const channels = staticDim(x.shape, 1, 'GroupNormalization');
  if (!Number.isInteger(groups) || groups < 1 || channels % groups !== 0) {
    throw new ClipGenError(
      'invalid_argument',
      `GroupNormalization: groups must divide ${channels} channels; got ${groups}`,
    );
  }
  const batch = x.shape[0]!;
  const area = staticDim(x.shape, 2, 'GroupNormalization') * staticDim(x.shape, 3, 'GroupNormalization');
  const each = channels / groups;
  const outputs = x.graph.compose(
    'GroupNormalization',
    [x, scale, bias],
    { groups: int(groups), epsilon: float(epsilon) },
    () => {
      const grouped = reshape(x, [batch, groups, each * area]);
      const mean = reduceMean(grouped, [2], true); // (B, G, 1)
      const centred = sub(grouped, mean);
      const variance = reduceMean(mul(centred, centred), [2], true);
      const inverse = div(1, sqrt(add(variance, epsilon))); // (B, G, 1)
      // y = x·a + b with one a and b for each channel: two passes over the activation.
      const a = mul(inverse, reshape(scale, [1, groups, each])); // (B, G, C/G)
      const b = sub(reshape(bias, [1, groups, each]), mul(mean, a));
      const flat = reshape(x, [batch, channels, area]);
      const y = add(mul(flat, reshape(a, [batch, channels, 1])), reshape(b, [batch, channels, 1]));
      return [reshape(y, x.shape), mean, inverse];
    },
  );
  return first(outputs);
}

/**
 * Batch normalisation of (B, C, H, W) with the batch's own statistics (training mode, biased variance).
 * Second and third results: batch mean and inverse standard deviation, (1, C, 1, 1).
 */
export function batchNormalization(x: Value, scale: Value, bias: Value, epsilon = 1e-5): readonly Value[] {
  requireRank('BatchNormalization', x, 4);
  const channels = staticDim(x.shape, 1, 'BatchNormalization');
  return x.graph.compose('BatchNormalization', [x, scale, bias], { epsilon: float(epsilon) }, () => {
    const mean = reduceMean(x, [0, 2, 3], true);
    const centred = sub(x, mean);
    const variance = reduceMean(mul(centred, centred), [0, 2, 3], true);
    const inverse = div(1, sqrt(add(variance, epsilon)));
    const a = mul(inverse, reshape(scale, [1, channels, 1, 1]));
    const b = sub(reshape(bias, [1, channels, 1, 1]), mul(mean, a));
    return [add(mul(x, a), b), mean, inverse];
  });
}
