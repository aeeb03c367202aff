import type { SharedRegions } from '../transport/shared-regions.ts';
import type { Arithmetic, Slice } from './exchange.ts';

/** Float32 that a core keeps close while it adds one neighbour after the other to them. */
const BLOCK = 8192;

/**
 * The own slice over all neighbours' elements, where it lies: out of memory that everybody sees, so nothing is sent.
 * Order of the sum: the own part, then those of the regions after it, round the ring.
 *
 * @param places where each neighbour's elements lie
 */
export function reduceSlice(
  { memory, size }: SharedRegions,
  places: readonly number[],
  slice: Slice,
  { combine, factor }: Pick<Arithmetic, 'combine' | 'factor'>,
): void {
  const { kernels, region } = memory;
  const end = slice.start + slice.count;
  for (let start = slice.start; start < end; start += BLOCK) {
    const count = Math.min(BLOCK, end - start);
    const into = places[region]! + start * 4;
    for (let step = 1; step < size; step++) {
      kernels.combine(combine, into, into, places[(region + step) % size]! + start * 4, count);
    }
    kernels.scale(into, factor, count);
  }
}
