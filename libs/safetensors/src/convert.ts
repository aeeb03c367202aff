import { invalidArgument } from '@clip-gen/errors';
import { tensor, type Tensor } from '@clip-gen/tensor';
import { bfloat16ToFloat32, float16ToFloat32, float32ToBfloat16, float32ToFloat16 } from './half-precision.ts';

/**
 * The tensor in float32. Exact from float16 and bfloat16, rounded to nearest even from float64.
 *
 * @returns `source` itself when it is float32, else new data that the caller owns
 * @throws invalid_argument for integer and bool tensors
 */
export function toFloat32(source: Tensor): Tensor<'float32'> {
  if (isOf(source, 'float32')) return source;
  if (isOf(source, 'float64')) return tensor('float32', source.shape, Float32Array.from(source.data));
  const widen = isOf(source, 'float16') ? float16ToFloat32 : isOf(source, 'bfloat16') ? bfloat16ToFloat32 : undefined;
  if (widen === undefined) throw invalidArgument('source.dtype', 'a floating-point type', source.dtype);
  const bits = source.data as Uint16Array;
  const data = new Float32Array(bits.length);
  for (let i = 0; i < data.length; i++) data[i] = widen(bits[i] ?? 0);
  return tensor('float32', source.shape, data);
}

/**
 * The tensor in float16: rounded to nearest even, infinity from 65520 on.
 *
 * @returns `source` itself when it is float16, else new data that the caller owns
 * @throws invalid_argument unless it is float32, float16 or bfloat16 (float64 would be rounded twice)
 */
export function toFloat16(source: Tensor): Tensor<'float16'> {
  return isOf(source, 'float16') ? source : narrow(source, 'float16', float32ToFloat16);
}

/**
 * The tensor in bfloat16, rounded to nearest even.
 *
 * @returns `source` itself when it is bfloat16, else new data that the caller owns
 * @throws invalid_argument unless it is float32, float16 or bfloat16 (float64 would be rounded twice)
 */
export function toBfloat16(source: Tensor): Tensor<'bfloat16'> {
  return isOf(source, 'bfloat16') ? source : narrow(source, 'bfloat16', float32ToBfloat16);
}

function narrow<D extends 'float16' | 'bfloat16'>(source: Tensor, dtype: D, round: (value: number) => number) {
  if (source.dtype === 'float64') throw invalidArgument('source.dtype', 'float32, float16 or bfloat16', source.dtype);
  const { data, shape } = toFloat32(source);
  const bits = new Uint16Array(data.length);
  for (let i = 0; i < bits.length; i++) bits[i] = round(data[i] ?? 0);
  return tensor<'float16' | 'bfloat16'>(dtype, shape, bits) as Tensor<D>;
}

function isOf<D extends Tensor['dtype']>(source: Tensor, dtype: D): source is Tensor<D> {
  return source.dtype === dtype;
}
