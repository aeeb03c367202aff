import { broadcast } from '../algorithm/broadcast.ts';
import { slices, type Arithmetic } from '../algorithm/exchange.ts';
import { pair } from '../algorithm/pair.ts';
import { ring } from '../algorithm/ring.ts';
import { doubleTree, reduceUp, rootedTree } from '../algorithm/tree.ts';
import { wireBytes } from '../kernel/kernels.ts';
import { contiguousAddress, cut, load, store, type Segment } from './segments.ts';
import { throughHosts, throughMemory } from './through-memory.ts';
import { everybody, flatAlgorithm, isHierarchical } from './topology.ts';
import type { Work } from './work.ts';

/** Pieces that pass through shared memory: a rank's two stages of so many bytes stay in a core's cache. */
const CACHED_BYTES = 512 * 1024;

/** All-reduce of the tensors, segment after segment, in place where a segment lies in the work memory. */
export async function allReduce(work: Work): Promise<void> {
  const { call, memory, topology, regions, arithmetic } = work;
  const { stageBytes } = memory.sizes;
  const segments = cut(call.counts, stageBytes / 4);
  const hierarchical = isHierarchical(call.algorithm, topology);
  if (regions !== undefined && topology.leaders.length === 1 && (hierarchical || call.algorithm === 'auto')) {
    return throughMemory(work, regions, cut(call.counts, Math.min(stageBytes, CACHED_BYTES) / 4));
  }
  if (regions !== undefined && hierarchical) {
    return throughHosts(work, regions, segments, (address, count) =>
      between(work, topology.leaders, address, count, arithmetic),
    );
  }
  if (hierarchical) {
    for (const segment of segments) await throughFirst(work, segment);
    return;
  }
  const ranks = everybody(topology);
  const isTree = ({ count }: Segment): boolean =>
    flatAlgorithm(call.algorithm, ranks.length, count * wireBytes(arithmetic.format), arithmetic.format) === 'tree';
  const rings = segments.filter((segment) => !isTree(segment));
  // Two at a time: while the last bytes of one are on their way, the next keeps the link busy.
  await Promise.all(
    ([0, 1] as const).map(async (channel) => {
      for (let index = channel; index < rings.length; index += 2)
        await overTransport(work, rings[index]!, ranks, channel);
    }),
  );
  for (const segment of segments.filter(isTree)) await overTransport(work, segment, ranks, 0);
}

async function overTransport(work: Work, segment: Segment, ranks: readonly number[], channel: 0 | 1): Promise<void> {
  const { memory, pieces, arithmetic } = work;
  const inPlace = contiguousAddress(segment, pieces);
  const address = inPlace ?? memory.stage(channel);
  if (inPlace === undefined) load(segment, pieces, address);
  await between(work, ranks, address, segment.count, arithmetic, channel);
  if (inPlace === undefined) store(segment, pieces, address, 0, segment.count);
}

/** Several hosts, or ranks of one that share no memory: up to the first rank of the host, round the hosts, down again. */
async function throughFirst(work: Work, segment: Segment): Promise<void> {
  const { memory, pieces, topology, arithmetic } = work;
  const inPlace = contiguousAddress(segment, pieces);
  const address = inPlace ?? memory.stage(0);
  if (inPlace === undefined) load(segment, pieces, address);
  const local = work.exchange(topology.local);
  const whole = { start: 0, count: segment.count };
  const sumOnly = { ...arithmetic, factor: 1 };
  await local.run(reduceUp(local, rootedTree(local.size, 0, local.me), 0, address, whole, sumOnly));
  if (local.me === 0) await between(work, topology.leaders, address, segment.count, arithmetic);
  await local.run(broadcast(local, address, segment.count, 0, arithmetic.format));
  if (inPlace === undefined) store(segment, pieces, address, 0, segment.count);
}

/** The flat algorithm among `ranks`, of which this is one; a ring on the given channel. */
async function between(
  work: Work,
  ranks: readonly number[],
  address: number,
  count: number,
  arithmetic: Arithmetic,
  channel: 0 | 1 = 0,
): Promise<void> {
  const exchange = work.exchange(ranks);
  if (exchange.size === 1) return work.memory.kernels.scale(address, arithmetic.factor, count);
  const bytes = count * wireBytes(arithmetic.format);
  switch (flatAlgorithm(work.call.algorithm, exchange.size, bytes, arithmetic.format)) {
    case 'pair':
      return exchange.run(pair(exchange, address, count, arithmetic, channel));
    case 'tree':
      return exchange.run(...doubleTree(exchange, address, count, arithmetic));
    case 'ring':
      return exchange.run(ring(exchange, address, slices(count, exchange.size), arithmetic, { channel }));
  }
}
