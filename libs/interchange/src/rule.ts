import { ClipGenError } from '@clip-gen/errors';
import { toFloat16, toFloat32 } from '@clip-gen/safetensors';
import { elementCount, emptyTensor, type DType, type Tensor } from '@clip-gen/tensor';

/**
 * How foreign tensors become one of ours.
 *
 * - `copy`: as it is.
 * - `matrix`: a 1×1 convolution (O, I, 1, 1) as the matrix (O, I) that it is.
 * - `transpose`: a matrix (I, O) from (O, I).
 * - `stack`: several, each as `matrix` makes it, one below the other along the first dimension.
 */
export type Transform = 'copy' | 'matrix' | 'transpose' | 'stack';

/** One of our parameters, and the foreign ones that it is made of. */
export interface Rule {
  readonly name: string;
  readonly from: readonly string[];
  readonly transform: Transform;
}

/** One tensor as it is. */
export function copy(name: string, from = name): Rule {
  return { name, from: [from], transform: 'copy' };
}

/** A weight and a bias of the same module. */
export function copyModule(name: string, from = name): Rule[] {
  return [copy(`${name}.weight`, `${from}.weight`), copy(`${name}.bias`, `${from}.bias`)];
}

/** {@link copyModule} of several, as pairs of our name and theirs. */
export function copyModules(pairs: Iterable<readonly [string, string]>): Rule[] {
  return [...pairs].flatMap(([ours, theirs]) => copyModule(ours, theirs));
}

/** What comes out; undefined when the sources do not go together. */
export function shapeAfter(transform: Transform, shapes: readonly (readonly number[])[]): number[] | undefined {
  const [first] = shapes;
  if (!first) return undefined;
  if (transform === 'copy') return [...first];
  const flat = shapes.map(withoutPoints);
  if (transform === 'matrix') return flat[0];
  if (transform === 'transpose') return flat[0]!.length === 2 ? flat[0]!.toReversed() : undefined;
  const [, ...rest] = flat[0]!;
  if (flat.some(([, ...others]) => others.join() !== rest.join())) return undefined;
  return [flat.reduce((sum, [rows]) => sum + (rows ?? 1), 0), ...rest];
}

/** Applies a transform to float tensors of one dtype. The result may be the source's own memory. */
export function transformed(transform: Transform, tensors: readonly Tensor[]): Tensor {
  const shape = shapeAfter(
    transform,
    tensors.map((tensor) => tensor.shape),
  );
  const [first] = tensors;
  if (!shape || !first) throw new ClipGenError('internal', `tensors do not go together by ${transform}`);
  if (transform === 'copy' || transform === 'matrix') return { ...first, shape };
  const result = emptyTensor(first.dtype, shape);
  const target = result.data as Float32Array | Uint16Array;
  if (transform === 'stack') {
    let at = 0;
    for (const { data } of tensors) {
      target.set(data as Float32Array, at);
      at += data.length;
    }
    return result;
  }
  const [rows, columns] = shape as [number, number];
  const source = first.data as Float32Array;
  for (let i = 0; i < rows; i++) for (let j = 0; j < columns; j++) target[i * columns + j] = source[j * rows + i]!;
  return result;
}

/** The type that weights are stored as. */
export type WeightType = 'float32' | 'float16';

/** What a foreign element type is stored as; undefined when it is no weight. `keep`: float16 stays float16. */
export function storedType(types: readonly string[], wanted: WeightType | 'keep'): WeightType | undefined {
  const floats: readonly string[] = ['float32', 'float16', 'bfloat16', 'float64'] satisfies DType[];
  if (types.length === 0 || !types.every((type) => floats.includes(type))) return undefined;
  if (wanted !== 'keep') return wanted;
  return types.every((type) => type === 'float16') ? 'float16' : 'float32';
}

/** A float tensor as `type`; float64 is rounded to float32 first. */
export function converted(tensor: Tensor, type: WeightType): Tensor {
  if (type === 'float32') return toFloat32(tensor);
  return toFloat16(tensor.dtype === 'float64' ? toFloat32(tensor) : tensor);
}

/** Bytes of a stored weight. */
export function bytesOf(type: WeightType, shape: readonly number[]): number {
  return (type === 'float32' ? 4 : 2) * elementCount(shape);
}

function withoutPoints(shape: readonly number[]): number[] {
  return shape.length === 4 && shape[2] === 1 && shape[3] === 1 ? shape.slice(0, 2) : [...shape];
}
