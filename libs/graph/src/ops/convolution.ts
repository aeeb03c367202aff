import { ClipGenError } from '@clip-gen/errors';
import { tensor } from '@clip-gen/tensor';
import { int, ints, string } from '../attribute.ts';
import { showShape, staticDim, staticShape, type Dim } from '../dim.ts';
import type { Value } from '../value.ts';
import { emitOne, first, requireDType, requireRank, requireSameDim } from './check.ts';
import { reshape, transpose } from './shape.ts';

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

/**
 * The kernel of a convolution's input gradient at stride 1: turned by 180°, its channels swapped. (O, I, kH, kW) →
 * (I, O, kH, kW). Second result: the turned taps as (O, kH·kW, I), which other layouts are quickly made of.
 */
export function turnKernel(weight: Value): Value {
  requireRank('TurnedKernel', weight, 4);
  const [outputs, inputs, height, width] = staticShape(weight.shape, 'TurnedKernel') as [
    number,
    number,
    number,
    number,
  ];
  const g = weight.graph;
  const taps = height * width;
  return first(
    g.compose('TurnedKernel', [weight], {}, () => {
      const rows = transpose(reshape(weight, [outputs, inputs, taps]), [0, 2, 1]);
      const backwards = g.int64(Array.from({ length: taps }, (_, i) => taps - 1 - i));
      const turned =
        taps === 1 ? rows : emitOne('Gather', [rows, backwards], { axis: int(1) }, weight.dtype, rows.shape); // (O, taps, I)
      return [reshape(transpose(turned, [2, 0, 1]), [inputs, outputs, height, width]), turned];
    }),
  );
}

/** Nearest-neighbour upsampling by a whole factor: (B, C, H, W) → (B, C, H·f, W·f). */
export function upsampleNearest(x: Value, factor: number): Value {
  requireRank('Upsample', x, 4);
  const g = x.graph;
  const [height, width] = [staticDim(x.shape, 2, 'Upsample'), staticDim(x.shape, 3, 'Upsample')];
  const shape = [x.shape[0]!, x.shape[1]!, height * factor, width * factor];
  // This combination of modes has a fast kernel for a factor of 2 in ONNX Runtime; Expand takes 25 times as long.
  const attributes = {
    mode: string('nearest'),
    coordinate_transformation_mode: string('asymmetric'),
    nearest_mode: string('floor'),
  };
  return first(
    g.compose('Upsample', [x], { factor: int(factor) }, () => {
      const scales = g.constant(tensor('float32', [4], Float32Array.of(1, 1, factor, factor)));
      return g.emit('Resize', [x, null, scales], attributes, [{ dtype: x.dtype, shape }]);
    }),
  );
}
