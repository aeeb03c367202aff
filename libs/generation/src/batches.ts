import type { Tensor } from '@clip-gen/tensor';

/** Rows of one run at most: enough to fill the processor. */
const MAX_ROWS = 16;

/** What is to be computed, in batches of at most `rows`, which is at most 16. */
export function* batches<T>(items: readonly T[], rows = MAX_ROWS): Generator<readonly T[]> {
  const step = Math.max(1, Math.min(MAX_ROWS, Math.floor(rows)));
  for (let from = 0; from < items.length; from += step) yield items.slice(from, from + step);
}

/** The rows of float32 (B, E), each with a buffer of its own. */
export function splitRows({ data, shape }: Tensor<'float32'>): Float32Array[] {
  const [rows, width] = shape as [number, number];
  return Array.from({ length: rows }, (_, i) => data.slice(i * width, (i + 1) * width));
}
