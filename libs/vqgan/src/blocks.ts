import { add, reshape, silu, transpose, type Value } from '@clip-gen/graph';
import { conv2d, groupNorm, same, selfAttention, upsampledConv2d, type Scope } from '@clip-gen/nn';
import type { NormSizes } from './config.ts';

/** GroupNorm as all blocks have it, then SiLU. */
export function normalized(scope: Scope, x: Value, norm: NormSizes): Value {
  return silu(groupNorm(scope, x, norm.groups, norm.normEpsilon));
}

/** norm → SiLU → 3×3 → norm → SiLU → 3×3, plus the input (through 1×1 where the channels change). */
export function residualBlock(scope: Scope, x: Value, out: number, norm: NormSizes): Value {
  const block = scope.child('block');
  let h = normalized(block.child(0), x, norm);
  h = conv2d(block.child(2), h, out, 3, { pads: same(3) });
  h = normalized(block.child(3), h, norm);
  h = conv2d(block.child(6), h, out, 3, { pads: same(3) });
  return add(x.shape[1] === out ? x : conv2d(scope.child('shortcut'), x, out, 1), h);
}

/** Single-head attention over the positions of the map, (B, C, H, W) → (B, C, H, W). */
export function attentionBlock(scope: Scope, x: Value, norm: NormSizes): Value {
  const [batch, channels, height, width] = x.shape as [number | string, number, number, number];
  const flat = reshape(groupNorm(scope.child('norm'), x, norm.groups, norm.normEpsilon), [
    batch,
    channels,
    height * width,
  ]);
  const mixed = selfAttention(scope.child('attn'), transpose(flat, [0, 2, 1]), { heads: 1 }); // (B, H·W, C)
  return add(x, reshape(transpose(mixed, [0, 2, 1]), [batch, channels, height, width]));
}

/** Zeros at the right and bottom, then 3×3 with stride 2: halves the side. */
export function downsample(scope: Scope, x: Value): Value {
  return conv2d(scope.child('conv'), x, x.shape[1] as number, 3, { stride: 2, pads: [0, 0, 1, 1] });
}

/** Nearest ×2, then 3×3. */
export function upsample(scope: Scope, x: Value): Value {
  return upsampledConv2d(scope.child('conv'), x, x.shape[1] as number);
}

/** Residual, attention, residual: the middle of encoder and decoder. */
export function middle(scope: Scope, x: Value, norm: NormSizes): Value {
  const channels = x.shape[1] as number;
  x = residualBlock(scope.child(0), x, channels, norm);
  x = attentionBlock(scope.child(1), x, norm);
  return residualBlock(scope.child(2), x, channels, norm);
}
