import { ClipGenError } from '@clip-gen/errors';
import type { DataOf, DType } from './dtype.ts';

/** Dense, row-major, plain data. Whoever made `data` owns it; a function that keeps it says so. */
export interface Tensor<D extends DType = DType> {
  readonly dtype: D;
  readonly shape: readonly number[];
  readonly data: DataOf[D];
}

/** Number of elements of a shape; 1 for a scalar. */
export function elementCount(shape: readonly number[]): number {
  let count = 1;
  for (const size of shape) count *= size;
  return count;
}

/**
 * A tensor over `data`, which is not copied.
 *
 * @throws invalid_argument when `data` does not hold exactly the elements of `shape`
 */
export function tensor<D extends DType>(dtype: D, shape: readonly number[], data: DataOf[D]): Tensor<D> {
  checkShape(shape);
  if (data.length !== elementCount(shape)) {
    throw new ClipGenError(
      'invalid_argument',
      `data must hold ${elementCount(shape)} elements for shape [${shape.join(', ')}]; got ${data.length}`,
    );
  }
  return { dtype, shape, data };
}

/**
 * A zero-filled tensor.
 *
 * @throws invalid_argument for a shape that is none
 */
export function emptyTensor<D extends DType>(dtype: D, shape: readonly number[]): Tensor<D> {
  checkShape(shape);
  return tensor(dtype, shape, allocate(dtype, elementCount(shape)) as DataOf[D]);
}

function checkShape(shape: readonly number[]): void {
  for (const size of shape) {
    if (!Number.isSafeInteger(size) || size < 0) {
      throw new ClipGenError('invalid_argument', `shape must hold non-negative integers; got [${shape.join(', ')}]`);
    }
  }
}

function allocate(dtype: DType, count: number): DataOf[DType] {
  switch (dtype) {
    case 'float32':
      return new Float32Array(count);
    case 'float64':
      return new Float64Array(count);
    case 'float16':
    case 'bfloat16':
      return new Uint16Array(count);
    case 'int8':
      return new Int8Array(count);
    case 'uint8':
    case 'bool':
      return new Uint8Array(count);
    case 'int32':
      return new Int32Array(count);
    case 'int64':
      return new BigInt64Array(count);
  }
}
