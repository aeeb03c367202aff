import type { SharedRegions } from '../transport/shared-regions.ts';
import type { Arithmetic, Slice } from './exchange.ts';

/** Float32 that a core keeps close, with a neighbour's, while it adds one neighbour after the other to them. */
const BLOCK = 4096;

/**
 * One slice over all neighbours' elements, where they lie: out of memory that everybody sees, so nothing is sent. Order of
 * the sum: the own part, then those of the regions after it, round the ring.
 *
 * @param places where each neighbour's elements lie
 * @param give whether the result takes the place of all neighbours' elements: at once, while it and what it replaces are
 *   in the core's cache; otherwise only of the own
 */
export function reduceSlice(
  { memory, size }: SharedRegions,
  places: readonly number[],
  slice: Slice,
  { combine, factor }: Pick<Arithmetic, 'combine' | 'factor'>,
  give: boolean,
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
    if (!give) continue;
    for (let step = 1; step < size; step++) kernels.copy(places[(region + step) % size]! + start * 4, into, count);
  }
}
