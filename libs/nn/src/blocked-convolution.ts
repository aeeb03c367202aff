import {
  concat,
  int,
  ints,
  phaseKernels,
  reshape,
  transpose,
  type Attributes,
  type Dim,
  type Value,
} from '@clip-gen/graph';
import { tensor } from '@clip-gen/tensor';
import { fanIn } from './initializer.ts';
import type { Scope } from './scope.ts';

/** Of a convolution in blocks. */
export interface BlockedConvOptions {
  /** [top, left, bottom, right] */
  readonly pads: readonly [number, number, number, number];
  /** [rows, columns]; default 1. */
  readonly strides?: readonly [number, number];
  /** Groups of channels that see one another alone; default 1. */
  readonly group?: number;
  /** A map that is added to the result. */
  readonly sum?: Value;
}

/** Weight and bias as Conv2d has them: (out, I, k, k) and (out). */
export function convParameters(scope: Scope, x: Value, out: number, kernel: number): readonly [Value, Value] {
  const into = x.shape[1] as number;
  const start = fanIn(into * kernel * kernel);
  return [scope.parameter('weight', [out, into, kernel, kernel], start), scope.parameter('bias', [out], start)];
}

/**
 * com.microsoft.nchwc::Conv: x (B, I, H, W) with its channels in blocks, a weight of {@link layBlocks}, bias (O) →
 * (B, O, H', W') in blocks. A depthwise weight is (O, 1, kH, kW) stored as (O/block, kH, kW, block).
 */
export function blockedConv(x: Value, weight: Value, bias: Value | null, options: BlockedConvOptions): Value {
  const { pads, strides = [1, 1], group = 1, sum } = options;
  const [out, , ...kernel] = weight.shape as [number, number, number, number];
  const [batch, , height, width] = x.shape as [Dim, number, number, number];
  const side = (size: number, axis: 0 | 1): number =>
    Math.floor((size + pads[axis] + pads[axis + 2]! - kernel[axis]) / strides[axis]) + 1;
  const attributes: Attributes = {
    kernel_shape: ints(kernel),
    strides: ints(strides),
    pads: ints(pads),
    group: int(group),
  };
  const inputs = [x, weight, bias, ...(sum ? [sum] : [])];
  const shape = [batch, out, side(height, 0), side(width, 1)];
  return x.graph.emit('NchwcConv', sum || bias ? inputs : [x, weight], attributes, [{ dtype: x.dtype, shape }])[0]!;
}

/** (O, I, kH, kW) → the same shape, stored as the kernels read it: (O/block, I/block, kH, kW, block of I, block of O). */
export function layBlocks(weight: Value, block: number): Value {
  const [out, into, height, width] = weight.shape as [number, number, number, number];
  const split = reshape(weight, [out / block, block, into / block, block, height * width]);
  return reshape(transpose(split, [0, 2, 4, 3, 1]), weight.shape);
}

/** The weight and bias with zeros for more output channels, up to a whole block. */
export function wholeBlocks(weight: Value, bias: Value, block: number): readonly [Value, Value] {
  const [out, ...kernel] = weight.shape as number[];
  const rest = (block - (out! % block)) % block;
  if (rest === 0) return [weight, bias];
  const zeros = (shape: readonly number[]): Value =>
    weight.graph.constant(tensor('float32', shape, new Float32Array(shape.reduce((a, b) => a * b, 1))));
  return [concat([weight, zeros([rest, ...kernel])], 0), concat([bias, zeros([rest])], 0)];
}

/** Nearest ×2 and a 3 × 3 convolution as four of 2 × 2, as `upsampledConv` does it, in blocks. */
export function blockedUpsampledConv(x: Value, weight: Value, bias: Value, block: number): Value {
  const out = weight.shape[0] as number;
  const [batch, , height, width] = x.shape as [Dim, number, number, number];
  const rows = phaseKernels(weight).map((kernels) => {
    const columns = kernels.map(({ weight: kernel, pads }) => {
      const phase = blockedConv(x, layBlocks(kernel, block), bias, { pads });
      return reshape(phase, [batch, out / block, height, width, block]);
    });
    return reshape(concat(columns, 4), [batch, out / block, height, 2 * width * block]);
  });
  return reshape(concat(rows, 3), [batch, out, 2 * height, 2 * width]);
}
