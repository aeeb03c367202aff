import type { DType } from '@clip-gen/tensor';

/** PyTorch's element types by name: bytes of an element, and the dtype they have here, if any. */
interface ElementType {
  readonly bytes: number;
  readonly dtype?: DType;
}

const same = (dtype: DType, bytes: number): ElementType => ({ bytes, dtype });

const TYPES: ReadonlyMap<string, ElementType> = new Map([
  ['float32', same('float32', 4)],
  ['float16', same('float16', 2)],
  ['bfloat16', same('bfloat16', 2)],
  ['float64', same('float64', 8)],
  ['int8', same('int8', 1)],
  ['uint8', same('uint8', 1)],
  ['int32', same('int32', 4)],
  ['int64', same('int64', 8)],
  ['bool', same('bool', 1)],
  // What other tensors of a checkpoint may have: they can lie in the file, and are refused when they are read.
  ['int16', { bytes: 2 }],
  ['uint16', { bytes: 2 }],
  ['uint32', { bytes: 4 }],
  ['uint64', { bytes: 8 }],
  ['complex64', { bytes: 8 }],
  ['complex128', { bytes: 16 }],
  ['float8_e4m3fn', { bytes: 1 }],
  ['float8_e5m2', { bytes: 1 }],
]);

/** `FloatStorage` and its like, by the type they hold. */
const STORAGE_TYPES: ReadonlyMap<string, string> = new Map([
  ['FloatStorage', 'float32'],
  ['HalfStorage', 'float16'],
  ['BFloat16Storage', 'bfloat16'],
  ['DoubleStorage', 'float64'],
  ['CharStorage', 'int8'],
  ['ByteStorage', 'uint8'],
  ['ShortStorage', 'int16'],
  ['IntStorage', 'int32'],
  ['LongStorage', 'int64'],
  ['BoolStorage', 'bool'],
  ['ComplexFloatStorage', 'complex64'],
  ['ComplexDoubleStorage', 'complex128'],
  ['UntypedStorage', 'uint8'],
]);

/** Undefined when there is no such type. */
export function elementType(name: string): ElementType | undefined {
  return TYPES.get(name);
}

/** The element type of a storage class such as `FloatStorage`; undefined when there is none. */
export function storageElementType(className: string): string | undefined {
  return STORAGE_TYPES.get(className);
}

/** PyTorch's name of each dtype of this project. */
export function storageClassOf(dtype: DType): string {
  for (const [className, type] of STORAGE_TYPES) if (type === dtype) return className;
  return 'UntypedStorage';
}
