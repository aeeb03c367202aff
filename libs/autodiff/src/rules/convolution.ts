import {
  concat,
  conv,
  convTranspose,
  fusedMatMul,
  intsAttribute,
  pad,
  reduceSum,
  reshape,
  slice,
  staticShape,
  transpose,
  type Node,
  type Value,
} from '@clip-gen/graph';
import type { GradientRule } from '../rule.ts';

interface Geometry {
  readonly stride: number;
  readonly pads: readonly [number, number, number, number];
  readonly kernel: readonly [number, number];
  readonly x: readonly [number, number, number, number];
  readonly dy: readonly [number, number, number, number];
}

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
    const flipped = flipKernel(transpose(weight, [1, 0, 2, 3]), kh, kw);
    const pads = [kh - 1 - top, kw - 1 - left, kh - 1 - g.pads[2], kw - 1 - g.pads[3]] as const;
    if (pads.every((p) => p >= 0)) return conv(dy, flipped, null, { pads });
  }
  const rest = (axis: 0 | 1): number =>
    g.x[2 + axis]! + g.pads[axis] + g.pads[axis + 2]! - ((g.dy[2 + axis]! - 1) * g.stride + g.kernel[axis]);
  return convTranspose(dy, weight, { stride: g.stride, pads: g.pads, outputPadding: [rest(0), rest(1)] });
}

/** Turns the last two dimensions by 180°, as one gather-free chain of slices. */
function flipKernel(weight: Value, kh: number, kw: number): Value {
  if (kh === 1 && kw === 1) return weight;
  const rows = Array.from({ length: kh }, (_, i) => slice(weight, 2, kh - 1 - i, kh - i));
  const turned = concat(rows, 2);
  return concat(
    Array.from({ length: kw }, (_, i) => slice(turned, 3, kw - 1 - i, kw - i)),
    3,
  );
}

/** dW[o, i, r, s] = Σ dy[b, o, h, w] · x[b, i, h·stride + r − top, w·stride + s − left], one product for all taps. */
function weightGradient(g: Geometry, x: Value, dy: Value): Value {
  const [batch, outChannels, height, width] = g.dy;
  const inChannels = g.x[1];
  const [kh, kw] = g.kernel;
  const padded = pad(x, [0, 0, g.pads[0], g.pads[1]], [0, 0, g.pads[2], g.pads[3]]);
  const taps: Value[] = [];
  for (let r = 0; r < kh; r++) {
    for (let s = 0; s < kw; s++) {
      const rows = slice(padded, 2, r, r + (height - 1) * g.stride + 1, g.stride);
      taps.push(slice(rows, 3, s, s + (width - 1) * g.stride + 1, g.stride));
    }
  }
  const area = height * width;
  const columns = reshape(concat(taps, 1), [batch, kh * kw * inChannels, area]);
  const products = fusedMatMul(reshape(dy, [batch, outChannels, area]), columns, { transB: true });
  const sum = reduceSum(products, [0]); // (O, kh·kw·I)
  return transpose(reshape(sum, [outChannels, kh, kw, inChannels]), [0, 3, 1, 2]);
}

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
