import { describeSignature } from '../call.ts';
import type { Failure } from '../failure.ts';
import type { Frame } from './transport.ts';

/** Why what `from` sent is not what `to` expects; undefined when it is. */
export function mismatch(
  from: number,
  to: number,
  signature: Uint8Array,
  byteLength: number,
  expected: Frame,
): Failure | undefined {
  if (Buffer.compare(signature, expected.signature) !== 0) {
    return differentCalls(from, signature, to, expected.signature);
  }
  if (byteLength === expected.bytes.length) return undefined;
  const message = `rank ${from} sends ${byteLength} bytes where rank ${to} expects ${expected.bytes.length}`;
  return { code: 'internal', rank: from, message };
}

/** Two ranks make calls that do not fit together. */
export function differentCalls(a: number, ofA: Uint8Array, b: number, ofB: Uint8Array): Failure {
  const message = `all ranks must make the same calls: rank ${a} makes ${describeSignature(ofA)}; rank ${b} makes ${describeSignature(ofB)}`;
  return { code: 'invalid_argument', rank: a, message };
}
