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
import type { FeatureMap } from './map-layers.ts';
import type { Scope } from './scope.ts';
import { edgesOf, mapOfStrips, rowsOf, stripEdges, type StripedMap } from './strips.ts';

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
export function convParameters(scope: Scope, x: FeatureMap, out: number, kernel: number): readonly [Value, Value] {
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

/** A convolution of odd kernel and stride 1 that keeps the size, tap by tap. Weight plain; `residual` has the same strips. */
export function blockedSameConv(x: StripedMap, weight: Value, bias: Value, options: SameConvOptions): StripedMap {
  const { block, residual } = options;
  const [out, , kernel] = weight.shape as [number, number, number, number];
  const [, , height, width] = x.shape;
  const laid = layBlocks(weight, block);
  const side = (kernel - 1) / 2;
  return mapOfStrips([1, out, height, width], edgesOf(x), (from, to, i) => {
    const [start, end] = [Math.max(0, from - side), Math.min(height, to + side)];
    const rows = rowsOf(x, start, end, block);
    const sum = residual ? { sum: residual.strips[i]!.rows } : {};
    return blockedConv(rows, laid, bias, { pads: [start - from + side, side, to + side - end, side], ...sum });
  });
}

/** Of {@link blockedSameConv}. */
export interface SameConvOptions {
  readonly block: number;
  /** A map that is added to the result. */
  readonly residual?: StripedMap | undefined;
}

/** Nearest ×2 and a 3 × 3 convolution as four of 2 × 2, as `upsampledConv` does it, in blocks. */
export function blockedUpsampledConv(x: StripedMap, weight: Value, bias: Value, block: number): StripedMap {
  const out = weight.shape[0] as number;
  const [, , height, width] = x.shape;
  const kernels = phaseKernels(weight).map((row) =>
    row.map((phase) => ({ ...phase, laid: layBlocks(phase.weight, block) })),
  );
  const shape = [1, out, 2 * height, 2 * width] as const;
  return mapOfStrips(shape, stripEdges(shape), (upper, lower) => {
    const [from, to] = [upper / 2, lower / 2];
    const rows = kernels.map((columns, down) => {
      // Even rows of output read the row above, odd ones the row below.
      const [start, end] = [Math.max(0, from - 1 + down), Math.min(height, to + down)];
      const strip = rowsOf(x, start, end, block);
      const phases = columns.map(({ laid, pads: [top, left, bottom, right] }) => {
        const pads = [start === from - 1 + down ? 0 : top, left, end === to + down ? 0 : bottom, right] as const;
        return reshape(blockedConv(strip, laid, bias, { pads }), [1, out / block, to - from, width, block]);
      });
      return reshape(concat(phases, 4), [1, out / block, to - from, 2 * width * block]);
    });
    return reshape(concat(rows, 3), [1, out, lower - upper, 2 * width]);
  });
}
