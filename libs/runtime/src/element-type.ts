import { ClipGenError } from '@clip-gen/errors';
import { ONNX_ELEMENT_TYPE } from '@clip-gen/onnx-proto';

const { bfloat16: BFLOAT16, ...NUMBER_OF } = ONNX_ELEMENT_TYPE;

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
  throw unsupported(number === BFLOAT16 ? 'bfloat16' : `ONNX element type ${number}`, what);
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
