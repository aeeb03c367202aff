import { broadcast } from '../algorithm/broadcast.ts';
import type { Slice } from '../algorithm/exchange.ts';
import { ring } from '../algorithm/ring.ts';
import { contiguousAddress, cut, load, store } from './segments.ts';
import { everybody } from './topology.ts';
import type { Work } from './work.ts';

/** The stage holds a stretch of each rank's slice; the sizes of the stretches, one round after another. */
function* rounds(work: Work, elements: number): Generator<{ readonly first: number; readonly parts: Slice[] }> {
  const { worldSize } = work.topology;
  const most = Math.floor(work.memory.sizes.stageBytes / 4 / worldSize);
  for (let first = 0; first === 0 || first < elements; first += most) {
    const count = Math.min(most, elements - first);
    yield { first, parts: everybody(work.topology).map((rank) => ({ start: rank * count, count })) };
  }
}

/** pieces: input of worldSize × output elements, output. */
export async function reduceScatter(work: Work): Promise<void> {
  const { topology, memory, arithmetic } = work;
  const [input, output] = work.pieces as [Work['pieces'][number], Work['pieces'][number]];
  const stage = memory.stage(0);
  for (const { first, parts } of rounds(work, output.count)) {
    for (const [rank, { start, count }] of parts.entries()) {
      input.read(rank * output.count + first, count, stage + start * 4);
    }
    const exchange = work.exchange(everybody(topology));
    await exchange.run(ring(exchange, stage, parts, arithmetic, { reduce: true, gather: false }));
    const own = parts[topology.rank]!;
    output.write(first, own.count, stage + own.start * 4);
  }
}

/** pieces: input, output of worldSize × input elements. */
export async function allGather(work: Work): Promise<void> {
  const { topology, memory, arithmetic } = work;
  const [input, output] = work.pieces as [Work['pieces'][number], Work['pieces'][number]];
  const stage = memory.stage(0);
  for (const { first, parts } of rounds(work, input.count)) {
    const own = parts[topology.rank]!;
    input.read(first, own.count, stage + own.start * 4);
    const exchange = work.exchange(everybody(topology));
    await exchange.run(ring(exchange, stage, parts, arithmetic, { reduce: false, gather: true }));
    for (const [rank, { start, count }] of parts.entries()) {
      output.write(rank * input.count + first, count, stage + start * 4);
    }
  }
}

/** pieces: the root's are read, the others' written. */
export async function broadcastAll(work: Work): Promise<void> {
  const { call, memory, pieces, topology, arithmetic } = work;
  for (const segment of cut(call.counts, memory.sizes.stageBytes / 4)) {
    const inPlace = contiguousAddress(segment, pieces);
    const address = inPlace ?? memory.stage(0);
    if (inPlace === undefined && topology.rank === call.root) load(segment, pieces, address);
    const exchange = work.exchange(everybody(topology));
    await exchange.run(broadcast(exchange, address, segment.count, call.root, arithmetic.format));
    if (inPlace === undefined) store(segment, pieces, address, 0, segment.count);
  }
}
