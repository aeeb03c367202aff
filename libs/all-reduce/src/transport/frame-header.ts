import { SIGNATURE_BYTES } from '../call.ts';
import type { Frame } from './transport.ts';

/** What goes before a frame's bytes over a socket: byte length, a constant, signature. */
export const HEADER_BYTES = 8 + SIGNATURE_BYTES;

const FRAME_MARK = 0x46_52_41_4d;

/** @param into of HEADER_BYTES */
export function writeHeader({ signature, bytes }: Frame, into: Buffer): void {
  into.writeUInt32LE(bytes.length, 0);
  into.writeUInt32LE(FRAME_MARK, 4);
  into.set(signature, 8);
}

/** undefined where this is no header. The signature is a view of it. */
export function readHeader(
  header: Buffer,
): { readonly byteLength: number; readonly signature: Uint8Array } | undefined {
  if (header.readUInt32LE(4) !== FRAME_MARK) return undefined;
  return { byteLength: header.readUInt32LE(0), signature: header.subarray(8) };
}
