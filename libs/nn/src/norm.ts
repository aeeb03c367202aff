import { batchNormalization, groupNormalization, layerNormalization, type Value } from '@clip-gen/graph';
import { ones, zeros } from './initializer.ts';
import type { Scope } from './scope.ts';

/** LayerNorm over the last dimension, epsilon 1e-5; `weight` and `bias` (C). */
export function layerNorm(scope: Scope, x: Value): Value {
  const width = x.shape.at(-1) as number;
  return layerNormalization(x, scope.parameter('weight', [width], ones), scope.parameter('bias', [width], zeros));
}

/** GroupNorm of (B, C, H, W), epsilon 1e-5 unless given; `weight` and `bias` (C). */
export function groupNorm(scope: Scope, x: Value, groups: number, epsilon?: number): Value {
  const channels = x.shape[1] as number;
  const weight = scope.parameter('weight', [channels], ones);
  return groupNormalization(x, groups, weight, scope.parameter('bias', [channels], zeros), epsilon);
}

/** BatchNorm2d of (B, C, H, W) by the batch's statistics, epsilon 1e-5: [y, mean, 1/std], statistics (1, C, 1, 1). */
export function batchNorm(scope: Scope, x: Value): readonly Value[] {
  const channels = x.shape[1] as number;
  const weight = scope.parameter('weight', [channels], ones);
  return batchNormalization(x, weight, scope.parameter('bias', [channels], zeros));
}
