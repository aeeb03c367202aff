import { ClipGenError, type ErrorCode } from '@clip-gen/errors';
import koffi from 'koffi';
import type { OrtApi, Pointer } from './function-table.ts';

/** One 64-bit place in memory through which C functions hand back a result. Only for calls on this thread. */
class Cell {
  readonly #words = new BigUint64Array(1);
  readonly address: bigint = koffi.address(this.#words.buffer);

  /** The result as an address. */
  pointer(): Pointer {
    return this.#words[0] || null;
  }

  /** The result as a `size_t`. */
  size(): number {
    return Number(this.#words[0]);
  }

  /** The result as a C enum or int. */
  int(): number {
    return Number(BigInt.asIntN(32, this.#words[0] ?? 0n));
  }
}

/** The one place that all calls on this thread share: read it before the next call. */
export const cell = new Cell();

// enum OrtErrorCode; what is not here is `internal`.
const CODES: Readonly<Record<number, ErrorCode>> = {
  3: 'not_found', // ORT_NO_SUCHFILE
  4: 'data_corrupt', // ORT_NO_MODEL
  7: 'data_corrupt', // ORT_INVALID_PROTOBUF
  9: 'unimplemented', // ORT_NOT_IMPLEMENTED
  10: 'data_corrupt', // ORT_INVALID_GRAPH
};

/** Turns an `OrtStatus *` into an error and frees it; null is success. */
export function errorOf(api: OrtApi, status: Pointer): ClipGenError | undefined {
  if (status === null) return undefined;
  try {
    const message = api.getErrorMessage(status).replace(/\s+/g, ' ').trim();
    return new ClipGenError(CODES[api.getErrorCode(status)] ?? 'internal', `ONNX Runtime: ${message}`);
  } finally {
    api.releaseStatus(status);
  }
}

/** @throws the error that `status` stands for */
export function check(api: OrtApi, status: Pointer): void {
  const error = errorOf(api, status);
  if (error) throw error;
}
