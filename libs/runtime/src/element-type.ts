import { ClipGenError } from '@clip-gen/errors';
import type { DType } from '@clip-gen/tensor';

// onnx.proto, TensorProto.DataType; ONNX Runtime's ONNXTensorElementDataType uses the same numbers.
const NUMBER_OF = {
  float32: 1,
  uint8: 2,
  int8: 3,
  int32: 6,
  int64: 7,
  bool: 9,
  float16: 10,
  float64: 11,
} as const satisfies Partial<Record<DType, number>>;

/** A dtype that ONNX Runtime computes with; bfloat16 has no CPU kernels and is left out. */
export type RuntimeDType = keyof typeof NUMBER_OF;

const DTYPE_OF = new Map<number, RuntimeDType>(
  Object.entries(NUMBER_OF).map(([dtype, number]) => [number, dtype as RuntimeDType]),
);

/** ONNX's number of an element type. */
export function elementTypeNumber(dtype: RuntimeDType): number {
  return NUMBER_OF[dtype];
}

/** @throws unimplemented for an element type that tensors of this project cannot hold; `what` names the input or output */
export function dtypeOfElementType(number: number, what: string): RuntimeDType {
  const dtype = DTYPE_OF.get(number);
  if (dtype !== undefined) return dtype;
  throw unsupported(number === 16 ? 'bfloat16' : `ONNX element type ${number}`, what);
}

/** The same by name, as the public binding says it. */
export function dtypeOfName(name: string, what: string): RuntimeDType {
  if (name in NUMBER_OF) return name as RuntimeDType;
  throw unsupported(name, what);
}

function unsupported(name: string, what: string): ClipGenError {
  return new ClipGenError(
    'unimplemented',
    `${what} has ${name}, which the runtime cannot pass; cast it inside the graph to one of ${Object.keys(NUMBER_OF).join(', ')}`,
  );
}
