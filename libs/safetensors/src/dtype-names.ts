import type { DataOf, DType, TensorData } from '@clip-gen/tensor';

/** The format's own name of each element type. */
export const NAME_OF: { readonly [D in DType]: string } = {
  float32: 'F32',
  float16: 'F16',
  bfloat16: 'BF16',
  float64: 'F64',
  int8: 'I8',
  uint8: 'U8',
  int32: 'I32',
  int64: 'I64',
  bool: 'BOOL',
};

const DTYPE_OF: ReadonlyMap<string, DType> = new Map(
  Object.entries(NAME_OF).map(([dtype, name]) => [name, dtype as DType]),
);

/** Names the format knows and clip-gen has no use for. */
const FOREIGN: ReadonlySet<string> = new Set([
  'F4',
  'F6_E2M3',
  'F6_E3M2',
  'F8_E4M3',
  'F8_E4M3FNUZ',
  'F8_E5M2',
  'F8_E5M2FNUZ',
  'F8_E8M0',
  'I16',
  'U16',
  'U32',
  'U64',
  'C64',
]);

/** `'foreign'`: a valid file that clip-gen does not read; `undefined`: no such element type. */
export function dtypeOf(name: string): DType | 'foreign' | undefined {
  return DTYPE_OF.get(name) ?? (FOREIGN.has(name) ? 'foreign' : undefined);
}

type ArrayConstructor<D extends DType> = new (buffer: ArrayBuffer) => DataOf[D];

const ARRAY_OF: { readonly [D in DType]: ArrayConstructor<D> } = {
  float32: Float32Array,
  float16: Uint16Array,
  bfloat16: Uint16Array,
  float64: Float64Array,
  int8: Int8Array,
  uint8: Uint8Array,
  int32: Int32Array,
  int64: BigInt64Array,
  bool: Uint8Array,
};

/** Zero-filled data of `byteLength` bytes, which must be whole elements. */
export function allocate<D extends DType>(dtype: D, byteLength: number): DataOf[D] {
  return new ARRAY_OF[dtype](new ArrayBuffer(byteLength));
}

/** Whether `data` is the typed array that carries `dtype`. */
export function carries(dtype: DType, data: TensorData): boolean {
  return data instanceof ARRAY_OF[dtype];
}

/** The bytes under `data`, not copied. */
export function bytesOf(data: TensorData): Uint8Array {
  return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
}
