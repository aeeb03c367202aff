import { ClipGenError } from '@clip-gen/errors';
import { int, ints } from '../attribute.ts';
import { showShape, staticDim, type Dim } from '../dim.ts';
import type { Value } from '../value.ts';
import { emitOne, first, requireDType, requireRank, requireSameDim } from './check.ts';
import { reshape } from './shape.ts';

/** Strides and zero padding of a two-dimensional convolution. */
export interface ConvOptions {
  /** Rows and columns alike; default 1. */
  readonly stride?: number;
  /** [top, left, bottom, right]; default none. */
  readonly pads?: readonly [number, number, number, number];
}

/** ai.onnx@11::Conv: x (B, I, H, W), weight (O, I, kH, kW), bias (O) or null → (B, O, H', W'). One group, no dilation. */
export function conv(x: Value, weight: Value, bias: Value | null, options: ConvOptions = {}): Value {
  const { stride = 1, pads = [0, 0, 0, 0] } = options;
  requireDType('Conv', x, 'float32');
  requireRank('Conv', x, 4);
  requireRank('Conv', weight, 4);
  requireSameDim('Conv', x, 1, weight, 1);
  requireDType('Conv', weight, 'float32');
  if (bias) {
    requireRank('Conv', bias, 1);
    requireSameDim('Conv', bias, 0, weight, 0);
  }
  requireStride('Conv', stride);
  const kernel = [staticDim(weight.shape, 2, 'Conv'), staticDim(weight.shape, 3, 'Conv')];
  const shape: Dim[] = [x.shape[0]!, weight.shape[0]!];
  for (const axis of [0, 1]) {
    const size = staticDim(x.shape, 2 + axis, 'Conv') + pads[axis]! + pads[axis + 2]!;
    if (size < kernel[axis]!) {
      throw new ClipGenError(
        'invalid_argument',
        `Conv: kernel ${showShape(kernel)} is larger than padded ${showShape(x.shape)}`,
      );
    }
    shape.push(Math.floor((size - kernel[axis]!) / stride) + 1);
  }
  const attributes = { kernel_shape: ints(kernel), strides: ints([stride, stride]), pads: ints(pads) };
  return emitOne('Conv', bias ? [x, weight, bias] : [x, weight], attributes, x.dtype, shape);
}

/**
 * ai.onnx@11::ConvTranspose with `outputPadding` at the bottom and right: the input gradient of {@link conv}.
 * x (B, O, H', W'), weight (O, I, kH, kW) → (B, I, H, W).
 */
export function convTranspose(
  x: Value,
  weight: Value,
  options: ConvOptions & { readonly outputPadding?: readonly [number, number] } = {},
): Value {
  const { stride = 1, pads = [0, 0, 0, 0], outputPadding = [0, 0] } = options;
  requireRank('ConvTranspose', x, 4);
  requireRank('ConvTranspose', weight, 4);
  requireStride('ConvTranspose', stride);
  requireSameDim('ConvTranspose', x, 1, weight, 0);
  const kernel = [staticDim(weight.shape, 2, 'ConvTranspose'), staticDim(weight.shape, 3, 'ConvTranspose')];
  const shape: Dim[] = [x.shape[0]!, weight.shape[1]!];
  for (const axis of [0, 1]) {
    const size = staticDim(x.shape, 2 + axis, 'ConvTranspose');
    shape.push((size - 1) * stride + kernel[axis]! - pads[axis]! - pads[axis + 2]! + outputPadding[axis]!);
  }
  const attributes = {
    kernel_shape: ints(kernel),
    strides: ints([stride, stride]),
    pads: ints(pads),
    output_padding: ints(outputPadding),
  };
  return emitOne('ConvTranspose', [x, weight], attributes, x.dtype, shape);
}

function requireStride(op: string, stride: number): void {
  if (!Number.isInteger(stride) || stride < 1) {
    throw new ClipGenError('invalid_argument', `${op}: stride must be an integer >= 1; got ${stride}`);
  }
}

/** Nearest-neighbour upsampling by a whole factor: (B, C, H, W) → (B, C, H·f, W·f). */
export function upsampleNearest(x: Value, factor: number): Value {
  requireRank('Upsample', x, 4);
  const [batch, channels] = [x.shape[0]!, staticDim(x.shape, 1, 'Upsample')];
  const [height, width] = [staticDim(x.shape, 2, 'Upsample'), staticDim(x.shape, 3, 'Upsample')];
  return first(
    x.graph.compose('Upsample', [x], { factor: int(factor) }, () => {
      // Expand in two steps of five dimensions: a static batch is not needed, the first dimension broadcasts as 1.
      const rows = repeat(reshape(x, [batch, channels * height, 1, width]), 2, factor); // (B, C·H, f, W)
      const columns = repeat(reshape(rows, [batch, channels * height * factor * width, 1]), 2, factor);
      return [reshape(columns, [batch, channels, height * factor, width * factor])];
    }),
  );
}

/** Repeats an axis of size 1. The batch dimension may be named: the expansion's target gives it as 1. */
function repeat(x: Value, axis: number, times: number): Value {
  const target = x.shape.map((_, i) => (i === axis ? times : 1));
  const shape = x.shape.map((dim, i) => (i === axis ? times : dim));
  return emitOne('Expand', [x, x.graph.int64(target)], {}, x.dtype, shape);
}
