import { setImmediate as nextTurn } from 'node:timers/promises';
import { reduceShares } from '../algorithm/direct.ts';
import { slices } from '../algorithm/exchange.ts';
import type { Places, SharedRegions } from '../transport/shared-regions.ts';
import { contiguousAddress, load, store, type Segment } from './segments.ts';
import type { Work } from './work.ts';

/** Elements of a stretch after which heartbeats get their turn. */
const STRETCH = 4 * 2 ** 20;

/**
 * All-reduce among the ranks of one host: every rank sums its slice over all of them and writes the result back to all, and
 * helps whoever is behind.
 *
 * Where the whole call lies in one stretch on every rank, that is all. Otherwise segment after segment goes over two
 * stages in turns: between two meetings a rank brings the next segment and sums its share of this one, so that each segment
 * costs one meeting. After the last meeting nobody touches another's memory.
 */
export async function throughMemory(work: Work, regions: SharedRegions, segments: readonly Segment[]): Promise<void> {
  const { memory, pieces, signature, arithmetic } = work;
  const count = segments.reduce((sum, segment) => sum + segment.count, 0);
  const everything = { parts: segments.flatMap(({ parts }) => parts), count };
  const wholeAddress = contiguousAddress(everything, pieces);

  /** Brings a segment to where the others see it; where that is, if not on a stage. */
  const bring = (index: number): number | undefined => {
    const segment = segments[index]!;
    const inPlace = contiguousAddress(segment, pieces);
    const address = inPlace ?? memory.stage(index & 1);
    if (inPlace === undefined) load(segment, pieces, address);
    const offset = address - memory.regionStart(memory.region);
    regions.announce({ signature, offset, whole: index === 0 && wholeAddress !== undefined });
    return inPlace;
  };

  let inPlace = bring(0);
  await regions.meet();
  for (const [index, segment] of segments.entries()) {
    const places = await regions.places(signature);
    if (places.whole) {
      await reduceWhole(work, regions, places, count);
      return regions.meet();
    }
    const next = index + 1 < segments.length ? bring(index + 1) : undefined;
    reduceShares(regions, places, slices(segment.count, regions.size), arithmetic);
    await regions.meet();
    if (inPlace === undefined) store(segment, pieces, memory.stage(index & 1), 0, segment.count);
    inPlace = next;
  }
}

/** Any number of elements. */
async function reduceWhole({ arithmetic }: Work, regions: SharedRegions, places: Places, count: number): Promise<void> {
  const parts = slices(count, regions.size);
  while (!reduceShares(regions, places, parts, arithmetic, STRETCH)) await nextTurn();
}

/**
 * All-reduce over several hosts: the ranks of this one sum as above, the first of them exchanges with the other hosts'.
 *
 * @param between exchanges `count` elements at an address with the other hosts, which finishes them
 */
export async function throughHosts(
  work: Work,
  regions: SharedRegions,
  segments: readonly Segment[],
  between: (address: number, count: number) => Promise<void>,
): Promise<void> {
  const { memory, pieces, signature, arithmetic } = work;
  for (const [index, segment] of segments.entries()) {
    const inPlace = contiguousAddress(segment, pieces);
    const address = inPlace ?? memory.stage(index & 1);
    if (inPlace === undefined) load(segment, pieces, address);
    regions.announce({ signature, offset: address - memory.regionStart(memory.region), whole: false });
    await regions.meet();
    const places = await regions.places(signature);
    reduceShares(regions, places, slices(segment.count, regions.size), { ...arithmetic, factor: 1 });
    await regions.meet();
    if (memory.region === 0) await between(address, segment.count);
    await regions.meet();
    const first = places.addresses[0]!;
    if (inPlace === undefined) store(segment, pieces, first, 0, segment.count);
    else if (memory.region !== 0) memory.kernels.copy(address, first, segment.count);
  }
  await regions.meet(); // a neighbour may still be reading what the first rank's caller will change now
}
