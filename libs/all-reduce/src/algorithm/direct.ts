import type { Places, SharedRegions } from '../transport/shared-regions.ts';
import type { Arithmetic, Slice } from './exchange.ts';

/** Float32 that a rank takes at a time: 10 to 50 µs of work. */
const SHARE = 16384;

/**
 * The sum over all neighbours' elements, where they lie: out of memory that everybody sees, so nothing is sent; the result
 * takes the place of all of them at once. Between two meetings, every neighbour calls it until it returns true.
 *
 * Each slice belongs to a rank, which begins with it, share by share; whoever is through helps the next. So nobody waits
 * for a rank that has no core now, and the cores have work while there is any. Order of the sum, whoever does it: the
 * slice owner's part, then those of the regions after it, round the ring.
 *
 * Returns after about `atMost` elements, for others to have a turn; true when nothing is left to be taken.
 *
 * @param parts the slice of each region
 */
export function reduceShares(
  regions: SharedRegions,
  { addresses, announcement }: Places,
  parts: readonly Slice[],
  { combine, factor }: Pick<Arithmetic, 'combine' | 'factor'>,
  atMost = Infinity,
): boolean {
  const { memory, size } = regions;
  let summed = 0;
  for (let step = 0; step < size; step++) {
    const owner = (memory.region + step) % size;
    const { start, count } = parts[owner]!;
    const inOrder = addresses.map((_, index) => addresses[(owner + index) % size]!);
    while (summed < atMost) {
      const first = regions.takeShare(owner, announcement) * SHARE;
      if (first >= count) break;
      const length = Math.min(SHARE, count - first);
      const at = (start + first) * 4;
      const places = inOrder.map((place) => place + at);
      memory.kernels.combineAll(combine, places, factor, length);
      summed += length;
    }
    if (summed >= atMost) return false;
  }
  return true;
}
