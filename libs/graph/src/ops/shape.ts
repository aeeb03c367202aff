import { ClipGenError } from '@clip-gen/errors';
import { int, ints } from '../attribute.ts';
import { normalizeAxis, sameShape, showShape, staticDim, type Dim, type Shape } from '../dim.ts';
import type { Value } from '../value.ts';
import { emitOne, requireRank, requireSameDType } from './check.ts';

/**
 * ai.onnx@14::Reshape. Named dimensions keep their place and name, except at most one that may move (it is written as
 * -1).
 */
export function reshape(x: Value, shape: Shape): Value {
  if (shape.some((dim) => typeof dim === 'number' && !(Number.isInteger(dim) && dim >= 0))) {
    throw new ClipGenError('invalid_argument', `Reshape: sizes must be whole; got ${showShape(shape)}`);
  }
  if (sameShape(x.shape, shape)) return x;
  const target: number[] = [];
  let inferred = false;
  shape.forEach((dim, i) => {
    if (typeof dim === 'number') target.push(dim);
    else if (x.shape[i] === dim) target.push(0);
    else if (!inferred) {
      inferred = true;
      target.push(-1);
    } else {
      throw new ClipGenError('invalid_argument', `Reshape: only one named dimension may move in ${showShape(shape)}`);
    }
  });
  const [from, to] = [factors(x.shape), factors(shape)];
  if (from.names === to.names && from.count !== to.count) {
    throw new ClipGenError('invalid_argument', `Reshape: ${showShape(x.shape)} does not hold ${showShape(shape)}`);
  }
  return emitOne('Reshape', [x, x.graph.int64(target)], {}, x.dtype, shape);
}

/** The product of the sizes and, apart, the names: `['B*4', 3]` is 12 of `B`. */
function factors(shape: Shape): { count: number; names: string } {
  const parts = shape.flatMap((dim) => String(dim).split('*'));
  const count = parts.reduce((product, part) => (/^\d+$/.test(part) ? product * Number(part) : product), 1);
  return {
    count,
    names: parts
      .filter((part) => !/^\d+$/.test(part))
      .sort()
      .join('*'),
  };
}

/** ai.onnx@13::Transpose: output dimension i is input dimension `permutation[i]`. */
export function transpose(x: Value, permutation: readonly number[]): Value {
  const sorted = [...permutation].sort((a, b) => a - b);
  if (permutation.length !== x.shape.length || sorted.some((axis, i) => axis !== i)) {
    throw new ClipGenError(
      'invalid_argument',
      `Transpose: [${permutation.join(', ')}] does not permute ${showShape(x.shape)}`,
    );
  }
  if (permutation.every((axis, i) => axis === i)) return x;
  const shape = permutation.map((axis) => x.shape[axis]!);
  return emitOne('Transpose', [x], { perm: ints(permutation) }, x.dtype, shape);
}

/** ai.onnx@13::Expand to `shape`, by broadcasting. Static shapes only. */
export function expand(x: Value, shape: readonly number[]): Value {
  if (sameShape(x.shape, shape)) return x;
  return emitOne('Expand', [x, x.graph.int64(shape)], {}, x.dtype, shape);
}

/** ai.onnx@13::Concat along `axis`. */
export function concat(values: readonly Value[], axis: number): Value {
  const [head, ...rest] = values;
  if (!head) throw new ClipGenError('invalid_argument', 'Concat: needs at least one value; got none');
  if (rest.length === 0) return head;
  const at = normalizeAxis(axis, head.shape.length, 'Concat');
  let size = staticDim(head.shape, at, 'Concat');
  for (const value of rest) {
    requireSameDType('Concat', head, value);
    if (value.shape.length !== head.shape.length || value.shape.some((dim, i) => i !== at && dim !== head.shape[i])) {
      throw new ClipGenError(
        'invalid_argument',
        `Concat: ${showShape(value.shape)} does not join ${showShape(head.shape)} along ${at}`,
      );
    }
    size += staticDim(value.shape, at, 'Concat');
  }
  const shape: Dim[] = [...head.shape];
  shape[at] = size;
  return emitOne('Concat', [head, ...rest], { axis: int(at) }, head.dtype, shape);
}

/** ai.onnx@13::Slice of one axis: elements start, start+step, … below `end`. `end` may pass the size. */
export function slice(x: Value, axis: number, start: number, end: number, step = 1): Value {
  const at = normalizeAxis(axis, x.shape.length, 'Slice');
  const size = staticDim(x.shape, at, 'Slice');
  const last = Math.min(end, size);
  if (![start, last, step].every(Number.isInteger) || !(start >= 0 && start < last && step >= 1)) {
    throw new ClipGenError(
      'invalid_argument',
      `Slice: [${start}, ${end}) by ${step} of axis ${at} selects nothing of ${showShape(x.shape)}`,
    );
  }
  if (start === 0 && last === size && step === 1) return x;
  const shape = [...x.shape];
  shape[at] = Math.ceil((last - start) / step);
  const g = x.graph;
  return emitOne('Slice', [x, g.int64([start]), g.int64([last]), g.int64([at]), g.int64([step])], {}, x.dtype, shape);
}

/** ai.onnx@18::Split into `parts` of equal size along `axis`. */
export function split(x: Value, axis: number, parts: number): readonly Value[] {
  const at = normalizeAxis(axis, x.shape.length, 'Split');
  const size = staticDim(x.shape, at, 'Split');
  if (size % parts !== 0) {
    throw new ClipGenError('invalid_argument', `Split: parts must divide ${size}; got ${parts}`);
  }
  if (parts === 1) return [x];
  const shape = x.shape.map((dim, i) => (i === at ? size / parts : dim));
  const outputs = Array.from({ length: parts }, () => ({ dtype: x.dtype, shape }));
  return x.graph.emit('Split', [x], { axis: int(at), num_outputs: int(parts) }, outputs);
}

/** ai.onnx@13::Pad with zeros: `begin[i]` elements before and `end[i]` after axis i. */
export function pad(x: Value, begin: readonly number[], end: readonly number[]): Value {
  if (begin.length !== x.shape.length || end.length !== x.shape.length) {
    throw new ClipGenError(
      'invalid_argument',
      `Pad: needs ${x.shape.length} begins and ends; got ${begin.length} and ${end.length}`,
    );
  }
  if ([...begin, ...end].every((n) => n === 0)) return x;
  const shape = x.shape.map((dim, i) => {
    const extra = begin[i]! + end[i]!;
    return extra === 0 ? dim : staticDim(x.shape, i, 'Pad') + extra;
  });
  return emitOne('Pad', [x, x.graph.int64([...begin, ...end])], {}, x.dtype, shape);
}

/** ai.onnx@13::DepthToSpace in CRD order, which is PyTorch's pixel_shuffle: (B, C·r², H, W) → (B, C, H·r, W·r). */
export function pixelShuffle(x: Value, factor: number): Value {
  requireRank('DepthToSpace', x, 4);
  const channels = staticDim(x.shape, 1, 'DepthToSpace');
  if (channels % (factor * factor) !== 0) {
    throw new ClipGenError(
      'invalid_argument',
      `DepthToSpace: channels must be a multiple of ${factor * factor}; got ${channels}`,
    );
  }
  const shape = [
    x.shape[0]!,
    channels / (factor * factor),
    staticDim(x.shape, 2, 'DepthToSpace') * factor,
    staticDim(x.shape, 3, 'DepthToSpace') * factor,
  ];
  return emitOne(
    'DepthToSpace',
    [x],
    { blocksize: int(factor), mode: { type: 'string', value: 'CRD' } },
    x.dtype,
    shape,
  );
}

/** The inverse of {@link pixelShuffle}, PyTorch's pixel_unshuffle: (B, C, H, W) → (B, C·r², H/r, W/r). */
export function pixelUnshuffle(x: Value, factor: number): Value {
  requireRank('PixelUnshuffle', x, 4);
  const [batch, channels, height, width] = x.shape as [Dim, number, number, number];
  if (height % factor !== 0 || width % factor !== 0) {
    throw new ClipGenError('invalid_argument', `PixelUnshuffle: ${factor} must divide ${height} × ${width}`);
  }
  const [h, w] = [height / factor, width / factor];
  const blocks = reshape(x, [batch, channels, h, factor, w, factor]);
  return reshape(transpose(blocks, [0, 1, 3, 5, 2, 4]), [batch, channels * factor * factor, h, w]);
}
