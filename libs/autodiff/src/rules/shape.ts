import {
  concat,
  expand,
  intAttribute,
  intsAttribute,
  normalizeAxis,
  pad,
  pixelUnshuffle,
  reduceSum,
  reshape,
  slice,
  staticDim,
  staticShape,
  transpose,
  type Value,
} from '@clip-gen/graph';
import { unbroadcast } from '../broadcast.ts';
import { constantInts } from '../constant.ts';
import type { GradientRule } from '../rule.ts';

/** Gradients of what moves elements and computes nothing, by operator. */
export const shapeRules = {
  Reshape: (node, [dy]) => [reshape(dy!, node.inputs[0]!.shape), null],
  // the inverse permutation
  Transpose: (node, [dy]) => {
    const permutation = intsAttribute(node.attributes, 'perm', []);
    const inverse = permutation.map((_, i) => permutation.indexOf(i));
    return [transpose(dy!, inverse)];
  },
  Expand: (node, [dy]) => [unbroadcast(dy!, node.inputs[0]!), null],
  // each input takes its slice
  Concat: (node, [dy], needs) => {
    const axis = intAttribute(node.attributes, 'axis', 0);
    let start = 0;
    return node.inputs.map((input, i) => {
      const size = staticDim(input!.shape, axis, 'Concat');
      start += size;
      return needs[i] ? slice(dy!, axis, start - size, start) : null;
    });
  },
  // zeros around, and between when the step is larger than 1
  Slice: (node, [dy]) => {
    const x = node.inputs[0]!;
    const [start, axis, step] = [1, 3, 4].map((i) => constantInts(node.inputs[i]!)[0]!) as [number, number, number];
    const size = staticDim(x.shape, axis, 'Slice');
    const count = staticDim(dy!.shape, axis, 'Slice');
    const spread = step === 1 ? dy! : dilate(dy!, axis, step);
    const span = count * step;
    const begin = x.shape.map((_, i) => (i === axis ? start : 0));
    const end = x.shape.map((_, i) => (i === axis ? Math.max(0, size - start - span) : 0));
    return [slice(pad(spread, begin, end), axis, 0, size), null, null, null, null];
  },
  // the parts' gradients side by side; zeros for a part that has none
  Split: (node, parts) => {
    const axis = intAttribute(node.attributes, 'axis', 0);
    const all = parts.map(
      (dy, i) => dy ?? expand(node.inputs[0]!.graph.scalar(0), staticShape(node.outputs[i]!.shape, 'Split')),
    );
    return [concat(all, axis)];
  },
  Pad: (node, [dy]) => {
    const x = node.inputs[0]!;
    const pads = constantInts(node.inputs[1]!);
    let gradient = dy!;
    x.shape.forEach((_, axis) => {
      const size = staticDim(x.shape, axis, 'Pad');
      gradient = slice(gradient, axis, pads[axis]!, pads[axis]! + size);
    });
    return [gradient, null];
  },
  DepthToSpace: (node, [dy]) => [pixelUnshuffle(dy!, intAttribute(node.attributes, 'blocksize', 1))],
  // the sum over each f × f block
  Upsample: (node, [dy]) => {
    const factor = intAttribute(node.attributes, 'factor', 1);
    const [batch, channels, height, width] = staticShape(node.inputs[0]!.shape, 'Upsample') as [
      number,
      number,
      number,
      number,
    ];
    const blocks = reshape(dy!, [batch * channels * height, factor, width, factor]);
    return [reshape(reduceSum(blocks, [1, 3]), [batch, channels, height, width])];
  },
} satisfies Record<string, GradientRule>;

/** `step − 1` zeros after each element along `axis`. */
function dilate(x: Value, axis: number, step: number): Value {
  const at = normalizeAxis(axis, x.shape.length, 'Slice');
  const shape = staticShape(x.shape, 'Slice');
  const open = [...shape.slice(0, at + 1), 1, ...shape.slice(at + 1)];
  const zeros = open.map(() => 0);
  const after = open.map((_, i) => (i === at + 1 ? step - 1 : 0));
  const padded = pad(reshape(x, open), zeros, after);
  return reshape(
    padded,
    shape.map((size, i) => (i === at ? size * step : size)),
  );
}
