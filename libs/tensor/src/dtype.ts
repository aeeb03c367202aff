/** Element types, under ONNX's lower-case names. `float16` and `bfloat16` are carried as their bits; `bool` as bytes. */
export const DTYPES = ['float32', 'float16', 'bfloat16', 'float64', 'int8', 'uint8', 'int32', 'int64', 'bool'] as const;
/** One of them. */
export type DType = (typeof DTYPES)[number];

/** The array that holds the elements of each dtype. */
export interface DataOf {
  float32: Float32Array;
  float16: Uint16Array;
  bfloat16: Uint16Array;
  float64: Float64Array;
  int8: Int8Array;
  uint8: Uint8Array;
  int32: Int32Array;
  int64: BigInt64Array;
  bool: Uint8Array;
}
/** The array of any of them. */
export type TensorData = DataOf[DType];

const BYTES: { readonly [D in DType]: number } = {
  float32: 4,
  float16: 2,
  bfloat16: 2,
  float64: 8,
  int8: 1,
  uint8: 1,
  int32: 4,
  int64: 8,
  bool: 1,
};

/** Bytes of one element of `dtype`. */
export function bytesPerElement(dtype: DType): number {
  return BYTES[dtype];
}
