import type { Value } from '@clip-gen/graph';
import { conv2d, type FeatureMap, type GroupNormSizes, type MapLayers, type Scope } from '@clip-gen/nn';
import type { VqganConfig } from './config.ts';

/** How all GroupNorms of a VQGAN divide and keep away from 0. */
export function normSizes({ groups, normEpsilon }: VqganConfig): GroupNormSizes {
  return { groups, epsilon: normEpsilon };
}

/** What the blocks of one network share. */
export interface Blocks<M extends FeatureMap = Value> {
  readonly layers: MapLayers<M>;
  readonly norm: GroupNormSizes;
}

/** norm → SiLU → 3×3 → norm → SiLU → 3×3, plus the input (through 1×1 where the channels change). */
export function residualBlock<M extends FeatureMap>({ layers, norm }: Blocks<M>, scope: Scope, x: M, out: number): M {
  const block = scope.child('block');
  let h = layers.normalized(block.child(0), x, norm);
  h = layers.conv2d(block.child(2), h, out, 3);
  h = layers.normalized(block.child(3), h, norm);
  const shortcut = x.shape[1] === out ? x : layers.conv2d(scope.child('shortcut'), x, out, 1);
  return layers.conv2d(block.child(6), h, out, 3, shortcut);
}

/** Single-head attention over the positions of the map, plus the input. */
export function attentionBlock<M extends FeatureMap>({ layers, norm }: Blocks<M>, scope: Scope, x: M): M {
  return layers.attention({ norm: scope.child('norm'), attention: scope.child('attn') }, x, norm);
}

/** Zeros at the right and bottom, then 3×3 with stride 2: halves the side. Of (B, C, H, W). */
export function downsample(scope: Scope, x: Value): Value {
  return conv2d(scope.child('conv'), x, x.shape[1] as number, 3, { stride: 2, pads: [0, 0, 1, 1] });
}

/** Residual, attention, residual: the middle of encoder and decoder. */
export function middle<M extends FeatureMap>(blocks: Blocks<M>, scope: Scope, x: M): M {
  const channels = x.shape[1] as number;
  x = residualBlock(blocks, scope.child(0), x, channels);
  x = attentionBlock(blocks, scope.child(1), x);
  return residualBlock(blocks, scope.child(2), x, channels);
}
