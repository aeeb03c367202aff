import { broadcast } from '../algorithm/broadcast.ts';
import { reduceSlice } from '../algorithm/direct.ts';
import { slices, type Arithmetic } from '../algorithm/exchange.ts';
import { ring } from '../algorithm/ring.ts';
import { doubleTree, reduceUp, rootedTree } from '../algorithm/tree.ts';
import { wireBytes } from '../kernel/kernels.ts';
import type { SharedRegions } from '../transport/shared-regions.ts';
import { contiguousAddress, cut, load, store, type Segment } from './segments.ts';
import { everybody, flatAlgorithm, isHierarchical } from './topology.ts';
import type { Work } from './work.ts';

/** All-reduce of the tensors, segment after segment, in place where a segment lies in the work memory. */
export async function allReduce(work: Work): Promise<void> {
  const { call, memory, topology, regions } = work;
  const segments = cut(call.counts, memory.sizes.stageBytes / 4);
  const hierarchical = isHierarchical(call.algorithm, topology);
  const oneHost = topology.leaders.length === 1;
  const shared = regions !== undefined && (hierarchical || (oneHost && call.algorithm === 'auto'));
  for (const [index, segment] of segments.entries()) {
    if (shared) await throughMemory(work, regions, segment, memory.stage(index & 1));
    else await throughTransport(work, segment, memory.stage(0), hierarchical);
  }
  if (shared) await regions.meet(); // a neighbour may still be reading what the caller will change now
}

/**
 * Every rank of the host sums its slice over all of them; with other hosts, the first rank then exchanges the whole with
 * theirs. Two stages take turns: who meets the others for the next segment has read the last one.
 */
async function throughMemory(work: Work, regions: SharedRegions, segment: Segment, stage: number): Promise<void> {
  const { memory, pieces, signature, topology, arithmetic } = work;
  const inPlace = contiguousAddress(segment, pieces);
  const address = inPlace ?? stage;
  if (inPlace === undefined) load(segment, pieces, address);
  regions.announce({ signature, offset: address - memory.regionStart(memory.region) });
  await regions.meet();
  const places = await regions.offsets(signature);
  const parts = slices(segment.count, regions.size);
  const severalHosts = topology.leaders.length > 1;
  reduceSlice(regions, places, parts[memory.region]!, { ...arithmetic, factor: severalHosts ? 1 : arithmetic.factor });
  await regions.meet();
  const take = (from: number, { start, count }: { start: number; count: number }): void => {
    const source = places[from]! + start * 4;
    if (inPlace === undefined) store(segment, pieces, source, start, count);
    else if (from !== memory.region) memory.kernels.copy(address + start * 4, source, count);
  };
  if (!severalHosts) {
    // The next one's slice first: neighbours do not all read from the same region.
    for (let step = 0; step < regions.size; step++) {
      const from = (memory.region + step) % regions.size;
      take(from, parts[from]!);
    }
    return;
  }
  if (memory.region === 0) {
    for (const [from, part] of parts.entries()) {
      if (from !== 0) memory.kernels.copy(address + part.start * 4, places[from]! + part.start * 4, part.count);
    }
    await between(work, topology.leaders, address, segment.count, arithmetic);
  }
  await regions.meet();
  take(0, { start: 0, count: segment.count });
}

async function throughTransport(work: Work, segment: Segment, stage: number, hierarchical: boolean): Promise<void> {
  const { pieces, topology, arithmetic } = work;
  const inPlace = contiguousAddress(segment, pieces);
  const address = inPlace ?? stage;
  if (inPlace === undefined) load(segment, pieces, address);
  if (!hierarchical) {
    await between(work, everybody(topology), address, segment.count, arithmetic);
  } else {
    const local = work.exchange(topology.local);
    const whole = { start: 0, count: segment.count };
    const sumOnly = { ...arithmetic, factor: 1 };
    await reduceUp(local, rootedTree(local.size, 0, local.me), 0, address, whole, sumOnly);
    await local.finished();
    if (local.me === 0) await between(work, topology.leaders, address, segment.count, arithmetic);
    await broadcast(local, address, segment.count, 0, arithmetic.format);
  }
  if (inPlace === undefined) store(segment, pieces, address, 0, segment.count);
}

/** The flat algorithm among `ranks`, of which this is one. */
async function between(
  work: Work,
  ranks: readonly number[],
  address: number,
  count: number,
  arithmetic: Arithmetic,
): Promise<void> {
  const exchange = work.exchange(ranks);
  if (exchange.size === 1) return work.memory.kernels.scale(address, arithmetic.factor, count);
  const bytes = count * wireBytes(arithmetic.format);
  if (flatAlgorithm(work.call.algorithm, exchange.size, bytes) === 'tree') {
    await doubleTree(exchange, address, count, arithmetic);
  } else {
    await ring(exchange, address, slices(count, exchange.size), arithmetic);
  }
}
