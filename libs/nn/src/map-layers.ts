import { add, reshape, silu, transpose, type Shape, type Value } from '@clip-gen/graph';
import { selfAttention } from './attention.ts';
import { conv2d, same, upsampledConv2d } from './convolution.ts';
import { groupNorm } from './norm.ts';
import type { Scope } from './scope.ts';

/** How a GroupNorm divides channels and keeps away from 0; epsilon 1e-5 when left out. */
export interface GroupNormSizes {
  readonly groups: number;
  readonly epsilon?: number | undefined;
}

/** A map between layers; its shape is that of the picture, (B, C, H, W), however it lies in memory. */
export interface FeatureMap {
  readonly shape: Shape;
}

/**
 * The layers of a residual convolutional network between its first convolution and its last. Implementations compute
 * the same function from the same parameters and differ in how a map `M` lies in memory: what `enter` and the layers
 * return is for the layers of the same object alone.
 */
export interface MapLayers<M extends FeatureMap = Value> {
  /** Brings (B, C, H, W) into the layers' layout. */
  enter(x: Value): M;
  /** Brings a map back to (B, C, H, W). */
  leave(x: M): Value;
  /** Stride 1, odd kernel, same size; plus the map `residual` where one is given. */
  conv2d(scope: Scope, x: M, out: number, kernel: number, residual?: M): M;
  /** As `conv2d`, then {@link leave}. For outputs of few channels. */
  lastConv2d(scope: Scope, x: M, out: number, kernel: number): Value;
  /** Nearest ×2, then 3×3 with as many channels. */
  upsample(scope: Scope, x: M): M;
  /** GroupNorm, then SiLU. */
  normalized(scope: Scope, x: M, norm: GroupNormSizes): M;
  /** The map plus single-head attention over the positions of its GroupNorm. */
  attention(scopes: { readonly norm: Scope; readonly attention: Scope }, x: M, norm: GroupNormSizes): M;
}

/** Layers of standard operators on (B, C, H, W): differentiable, for every provider. */
export const PLAIN_LAYERS: MapLayers = {
  enter: (x) => x,
  leave: (x) => x,
  conv2d(scope, x, out, kernel, residual) {
    const y = conv2d(scope, x, out, kernel, { pads: same(kernel) });
    return residual ? add(residual, y) : y;
  },
  lastConv2d: (scope, x, out, kernel) => conv2d(scope, x, out, kernel, { pads: same(kernel) }),
  upsample: (scope, x) => upsampledConv2d(scope, x, x.shape[1] as number),
  normalized: (scope, x, { groups, epsilon }) => silu(groupNorm(scope, x, groups, epsilon)),
  attention: ({ norm, attention }, x, { groups, epsilon }) =>
    add(x, attendPositions(attention, groupNorm(norm, x, groups, epsilon))),
};

/** Single-head attention over the positions of a map, (B, C, H, W) → (B, C, H, W). */
export function attendPositions(scope: Scope, x: Value): Value {
  const [batch, channels, height, width] = x.shape as [number | string, number, number, number];
  const rows = transpose(reshape(x, [batch, channels, height * width]), [0, 2, 1]); // (B, H·W, C)
  const mixed = selfAttention(scope, rows, { heads: 1 });
  return reshape(transpose(mixed, [0, 2, 1]), [batch, channels, height, width]);
}
