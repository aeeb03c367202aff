import { conv, upsampledConv, type ConvOptions, type Value } from '@clip-gen/graph';
import { fanIn } from './initializer.ts';
import type { Scope } from './scope.ts';

/** Conv2d of (B, I, H, W) with PyTorch's names and start: `weight` (O, I, k, k), `bias` (O) unless `bias: false`. */
export function conv2d(
  scope: Scope,
  x: Value,
  out: number,
  kernel: number,
  options: ConvOptions & { readonly bias?: boolean } = {},
): Value {
  const into = x.shape[1] as number;
  const start = fanIn(into * kernel * kernel);
  const weight = scope.parameter('weight', [out, into, kernel, kernel], start);
  const bias = (options.bias ?? true) ? scope.parameter('bias', [out], start) : null;
  return conv(x, weight, bias, options);
}

/** Nearest ×2, then a 3 × 3 Conv2d with padding 1, in one: (B, I, H, W) → (B, out, 2·H, 2·W). Parameters as {@link conv2d}. */
export function upsampledConv2d(scope: Scope, x: Value, out: number): Value {
  const into = x.shape[1] as number;
  const start = fanIn(into * 9);
  const weight = scope.parameter('weight', [out, into, 3, 3], start);
  return upsampledConv(x, weight, scope.parameter('bias', [out], start));
}

/** Padding that keeps the size of an odd kernel at stride 1. */
export function same(kernel: number): readonly [number, number, number, number] {
  const side = (kernel - 1) / 2;
  return [side, side, side, side];
}
