import { ClipGenError } from '@clip-gen/errors';

/** A dimension: a number, or a name that stands for a size known only when the graph runs (`'B'`). */
export type Dim = number | string;
/** Dimensions, outermost first; [] for a scalar. */
export type Shape = readonly Dim[];

/** `[2, 'T', 8]` as text for messages. */
export function showShape(shape: Shape): string {
  return `[${shape.join(', ')}]`;
}

/** The sizes of a shape without names. @throws invalid_argument when a dimension is named */
export function staticShape(shape: Shape, where: string): number[] {
  return shape.map((dim) => {
    if (typeof dim === 'string') {
      throw new ClipGenError('invalid_argument', `${where} needs a static shape; got ${showShape(shape)}`);
    }
    return dim;
  });
}

/** Number of elements. @throws invalid_argument when a dimension is named */
export function staticSize(shape: Shape, where: string): number {
  return staticShape(shape, where).reduce((product, size) => product * size, 1);
}

/** One dimension as a number. @throws invalid_argument when it is named, absent or fractional */
export function staticDim(shape: Shape, axis: number, where: string): number {
  const dim = shape[axis];
  if (typeof dim !== 'number' || !Number.isInteger(dim)) {
    throw new ClipGenError(
      'invalid_argument',
      `${where} needs a static whole dimension ${axis}; got ${showShape(shape)}`,
    );
  }
  return dim;
}

/** Multidirectional broadcasting as ONNX defines it. @throws invalid_argument when the shapes do not fit */
export function broadcastShapes(a: Shape, b: Shape, where: string): Dim[] {
  const rank = Math.max(a.length, b.length);
  const result: Dim[] = [];
  for (let i = 0; i < rank; i++) {
    const x = a[a.length - rank + i] ?? 1;
    const y = b[b.length - rank + i] ?? 1;
    if (x === y || y === 1) result.push(x);
    else if (x === 1) result.push(y);
    else {
      throw new ClipGenError(
        'invalid_argument',
        `${where}: shapes ${showShape(a)} and ${showShape(b)} do not broadcast`,
      );
    }
  }
  return result;
}

/** Turns an axis in [-rank, rank) into [0, rank). @throws invalid_argument when out of range */
export function normalizeAxis(axis: number, rank: number, where: string): number {
  if (!Number.isInteger(axis) || axis < -rank || axis >= rank) {
    throw new ClipGenError('invalid_argument', `${where}: axis must be in [${-rank}, ${rank}); got ${axis}`);
  }
  return axis < 0 ? axis + rank : axis;
}

/** Whether both have the same sizes and names in the same places. */
export function sameShape(a: Shape, b: Shape): boolean {
  return a.length === b.length && a.every((dim, i) => dim === b[i]);
}
