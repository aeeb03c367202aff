import { ClipGenError } from '@clip-gen/errors';
import { bytesPerElement, elementCount, emptyTensor, type Tensor } from '@clip-gen/tensor';
import type { StoragePlace } from './checkpoint.ts';
import { elementType } from './element-types.ts';
import { corrupt, shown, type FileBytes } from './file-bytes.ts';
import { MAX_OVERLAPPING_BYTES } from './limits.ts';
import type { TensorReference } from './pickle-value.ts';

/**
 * The elements of a strided view, gathered row by row.
 *
 * @returns the tensor; the bytes of its storage too, where it is a view of all of them in order
 */
export async function readTensorData(
  file: FileBytes,
  tensor: TensorReference,
  place: StoragePlace,
): Promise<{ dense: Tensor; whole?: Uint8Array }> {
  const { type, shape, strides, offset, storage } = tensor;
  const what = `storage ${shown(storage.key)}`;
  const dtype = elementType(type)?.dtype;
  if (!dtype) {
    throw new ClipGenError('unimplemented', `${file.path}: ${what} is of type ${type}, which is not read here`);
  }
  const width = bytesPerElement(dtype);
  const count = elementCount(shape);
  const span = count === 0 ? 0 : shape.reduce((last, size, i) => last + (size - 1) * strides[i]!, 0) + 1;
  if ((offset + span) * width > place.byteLength) throw corrupt(file.path, `${what} is shorter than its tensors`);
  if (count > span && count * width > MAX_OVERLAPPING_BYTES) {
    const problem = `a tensor of ${count} elements repeats ${span}; that must be at most ${MAX_OVERLAPPING_BYTES} bytes`;
    throw new ClipGenError('resource_exhausted', `${file.path}: ${what}: ${problem}`);
  }
  const dense = emptyTensor(dtype, shape);
  const bytes = new Uint8Array(dense.data.buffer);
  const start = place.byteOffset + offset * width;
  if (isDense(shape, strides)) {
    await file.readInto(bytes, start, what);
    const whole = bytes.length === place.byteLength ? bytes : undefined;
    return checked(file, what, { dense, ...(whole ? { whole } : {}) });
  }
  const stored = await file.read(start, span * width, what);
  gather(stored, bytes, width, shape, strides);
  return checked(file, what, { dense });
}

/** Python knows two truth values; a byte that is neither would be read as one or the other. */
function checked<R extends { readonly dense: Tensor }>(file: FileBytes, what: string, read: R): R {
  const { dtype, data } = read.dense;
  if (dtype === 'bool' && (data as Uint8Array).some((byte) => byte > 1)) {
    throw corrupt(file.path, `${what} of type bool must hold 0 and 1 only`);
  }
  return read;
}

/** Row-major without gaps: each stride is the product of the sizes after it. Sizes of 1 are never stepped. */
function isDense(shape: readonly number[], strides: readonly number[]): boolean {
  let step = 1;
  for (let i = shape.length - 1; i >= 0; i--) {
    if (shape[i] === 0) return true;
    if (shape[i] !== 1 && strides[i] !== step) return false;
    step *= shape[i]!;
  }
  return true;
}

type Elements = Uint8Array | Uint16Array | Uint32Array | BigUint64Array;

/** Both arrays begin at the start of memory of their own. */
function asElements({ buffer }: Uint8Array, width: number): Elements {
  if (width === 8) return new BigUint64Array(buffer);
  return width === 4 ? new Uint32Array(buffer) : width === 2 ? new Uint16Array(buffer) : new Uint8Array(buffer);
}

/** Copies elements as bits, whatever they mean. */
function gather(
  stored: Uint8Array,
  dense: Uint8Array,
  width: number,
  shape: readonly number[],
  strides: readonly number[],
): void {
  const [from, to] = [asElements(stored, width), asElements(dense, width)];
  const inner = shape.at(-1) ?? 1;
  const step = strides.at(-1) ?? 0;
  const index = shape.slice(0, -1).map(() => 0);
  for (let row = 0; row < to.length; row += inner) {
    const start = index.reduce((sum, i, axis) => sum + i * strides[axis]!, 0);
    for (let i = 0; i < inner; i++) to[row + i] = from[start + i * step]!;
    for (let axis = index.length - 1; axis >= 0; axis--) {
      index[axis]!++;
      if (index[axis]! < shape[axis]!) break;
      index[axis] = 0;
    }
  }
}
