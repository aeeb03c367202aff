import { ClipGenError } from '@clip-gen/errors';

/** Values that share a scale. */
export const BLOCK = 128;
/** A value is one of −127 … 127 times its block's scale. */
const STEPS = 127;

/** Bytes of so many values: one each, after one float32 a block; a multiple of 4. */
export function encodedBytes(values: number): number {
  return Math.ceil(values / BLOCK) * 4 + Math.ceil(values / 4) * 4;
}

/**
 * Values in 8 bits each, blockwise: no value is off by more than half a step, 1/254 of the greatest in its block. Equal
 * values give equal bytes on every machine.
 *
 * @param values finite
 * @param into `encodedBytes(values.length)` bytes at a multiple of 4
 * @param residual takes what was lost, value − decoded; may be `values` itself
 */
export function encodeDelta(values: Float32Array, into: Uint8Array, residual?: Float32Array): void {
  const { scales, codes } = layout(into, values.length);
  for (let block = 0; block < scales.length; block++) {
    const [from, to] = bounds(block, values.length);
    let greatest = 0;
    for (let i = from; i < to; i++) greatest = Math.max(greatest, Math.abs(values[i]!));
    // Rounded to float32 at once: both sides must multiply by the same scale.
    const scale = Math.fround(greatest / STEPS);
    // Below the smallest normal numbers the scale itself is too coarse: such a block travels as zeros.
    const isNormal = scale >= 2 ** -126;
    scales[block] = isNormal ? scale : 0;
    const inverse = isNormal ? 1 / scale : 0;
    for (let i = from; i < to; i++) {
      const value = values[i]!;
      const code = Math.max(-STEPS, Math.min(STEPS, Math.round(value * inverse)));
      codes[i] = code;
      if (residual) residual[i] = value - code * (isNormal ? scale : 0);
    }
  }
}

/**
 * Adds factor · the decoded values.
 *
 * @throws data_corrupt when the bytes are not those of so many values
 */
export function addDecodedDelta(bytes: Uint8Array, factor: number, into: Float32Array): void {
  const { scales, codes } = layout(bytes, into.length);
  for (let block = 0; block < scales.length; block++) {
    const [from, to] = bounds(block, into.length);
    const step = factor * scales[block]!;
    for (let i = from; i < to; i++) into[i]! += step * codes[i]!;
  }
}

function bounds(block: number, length: number): [number, number] {
  return [block * BLOCK, Math.min(length, (block + 1) * BLOCK)];
}

function layout(bytes: Uint8Array, values: number): { readonly scales: Float32Array; readonly codes: Int8Array } {
  const wanted = encodedBytes(values);
  if (bytes.length !== wanted) {
    throw new ClipGenError('data_corrupt', `a delta of ${values} values has ${wanted} bytes; got ${bytes.length}`);
  }
  const blocks = Math.ceil(values / BLOCK);
  return {
    scales: new Float32Array(bytes.buffer, bytes.byteOffset, blocks),
    codes: new Int8Array(bytes.buffer, bytes.byteOffset + blocks * 4, values),
  };
}
