import {
  conv,
  convTranspose,
  intsAttribute,
  reduceSum,
  staticShape,
  turnKernel,
  type Node,
  type Value,
} from '@clip-gen/graph';
import type { GradientRule } from '../rule.ts';
import { weightGradient, type Geometry } from './convolution-weight.ts';

function geometry(node: Node): Geometry {
  const [kh, kw] = intsAttribute(node.attributes, 'kernel_shape', []) as [number, number];
  return {
    stride: intsAttribute(node.attributes, 'strides', [1, 1])[0]!,
    pads: intsAttribute(node.attributes, 'pads', [0, 0, 0, 0]) as unknown as Geometry['pads'],
    kernel: [kh, kw],
    x: staticShape(node.inputs[0]!.shape, 'Conv') as unknown as Geometry['x'],
    dy: staticShape(node.outputs[0]!.shape, 'Conv') as unknown as Geometry['dy'],
  };
}

/** Stride 1: a convolution with the kernel turned by 180° and its channels swapped; else ConvTranspose. */
function inputGradient(g: Geometry, weight: Value, dy: Value): Value {
  const [kh, kw] = g.kernel;
  const [top, left] = g.pads;
  if (g.stride === 1) {
    const pads = [kh - 1 - top, kw - 1 - left, kh - 1 - g.pads[2], kw - 1 - g.pads[3]] as const;
    if (pads.every((p) => p >= 0)) return conv(dy, turnKernel(weight), null, { pads });
  }
  const rest = (axis: 0 | 1): number =>
    g.x[2 + axis]! + g.pads[axis] + g.pads[axis + 2]! - ((g.dy[2 + axis]! - 1) * g.stride + g.kernel[axis]);
  return convTranspose(dy, weight, { stride: g.stride, pads: g.pads, outputPadding: [rest(0), rest(1)] });
}

/** Gradients of convolutions over (B, C, H, W), by operator. */
export const convolutionRules = {
  Conv: (node, [dy], needs) => {
    const g = geometry(node);
    const [x, weight] = [node.inputs[0]!, node.inputs[1]!];
    return [
      needs[0] ? inputGradient(g, weight, dy!) : null,
      needs[1] ? weightGradient(g, x, dy!) : null,
      needs[2] ? reduceSum(dy!, [0, 2, 3]) : null,
    ];
  },
} satisfies Record<string, GradientRule>;
