import { ClipGenError } from '@clip-gen/errors';
import koffi from 'koffi';
import { dtypeOfElementType, type RuntimeDType } from '../element-type.ts';
import type { TensorInfo } from '../session.ts';
import type { OrtApi, Pointer } from './function-table.ts';
import type { OrtLibrary } from './library.ts';
import { cell, check } from './status.ts';

const TENSOR = 1; // ONNXType ONNX_TYPE_TENSOR

/** What a session declares about its inputs. */
export function inspectInputs({ api, allocator }: OrtLibrary, session: Pointer): TensorInfo[] {
  check(api, api.sessionGetInputCount(session, cell.address));
  return Array.from({ length: cell.size() }, (_, i) => {
    check(api, api.sessionGetInputName(session, i, allocator, cell.address));
    const name = takeString(api, allocator);
    check(api, api.sessionGetInputTypeInfo(session, i, cell.address));
    return inspectType(api, `input "${name}"`, name, cell.pointer());
  });
}

/** What a session declares about its outputs. */
export function inspectOutputs({ api, allocator }: OrtLibrary, session: Pointer): TensorInfo[] {
  check(api, api.sessionGetOutputCount(session, cell.address));
  return Array.from({ length: cell.size() }, (_, i) => {
    check(api, api.sessionGetOutputName(session, i, allocator, cell.address));
    const name = takeString(api, allocator);
    check(api, api.sessionGetOutputTypeInfo(session, i, cell.address));
    return inspectType(api, `output "${name}"`, name, cell.pointer());
  });
}

function takeString(api: OrtApi, allocator: Pointer): string {
  const address = cell.pointer();
  try {
    return interned(koffi.decode.string(address));
  } finally {
    check(api, api.allocatorFree(allocator, address));
  }
}

/** The same string as V8 keeps property names, so that looking a tensor up by it compares an address. */
function interned(name: string): string {
  return Object.keys({ [name]: true })[0] ?? name;
}

function inspectType(api: OrtApi, what: string, name: string, typeInfo: Pointer): TensorInfo {
  try {
    check(api, api.getOnnxTypeFromTypeInfo(typeInfo, cell.address));
    if (cell.int() !== TENSOR)
      throw new ClipGenError('unimplemented', `${what} must be a tensor; it is of another ONNX type`);
    check(api, api.castTypeInfoToTensorInfo(typeInfo, cell.address));
    const info = cell.pointer(); // belongs to typeInfo
    const { dtype, sizes } = readShape(api, what, info);
    const names = readNames(api, info, sizes.length);
    return { name, dtype, shape: sizes.map((size, i) => (size >= 0 ? size : (names[i] ?? ''))) };
  } finally {
    api.releaseTypeInfo(typeInfo);
  }
}

/** dtype and sizes of an `OrtTensorTypeAndShapeInfo`; a size that is not fixed is −1. */
export function readShape(api: OrtApi, what: string, info: Pointer): { dtype: RuntimeDType; sizes: number[] } {
  check(api, api.getTensorElementType(info, cell.address));
  const dtype = dtypeOfElementType(cell.int(), what);
  check(api, api.getDimensionsCount(info, cell.address));
  const sizes = new BigInt64Array(cell.size());
  if (sizes.length > 0) check(api, api.getDimensions(info, koffi.address(sizes.buffer), sizes.length));
  return { dtype, sizes: Array.from(sizes, Number) };
}

function readNames(api: OrtApi, info: Pointer, rank: number): string[] {
  if (rank === 0) return [];
  const names = new BigUint64Array(rank);
  check(api, api.getSymbolicDimensions(info, koffi.address(names.buffer), rank));
  return Array.from(names, (address) => (address === 0n ? '' : koffi.decode.string(address)));
}
