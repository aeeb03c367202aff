import { setImmediate } from 'node:timers/promises';

const SLICE_BYTES = 2 ** 21;

/** Copies all of `from` into `to`, letting the event loop go on every millisecond or so. Both have the same length. */
export async function copyInSlices(from: Uint8Array, to: Uint8Array): Promise<void> {
  for (let start = 0; start < from.length; start += SLICE_BYTES) {
    if (start > 0) await setImmediate();
    to.set(from.subarray(start, start + SLICE_BYTES), start);
  }
}
