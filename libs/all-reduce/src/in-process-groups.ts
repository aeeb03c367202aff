import { invalidArgument } from '@clip-gen/errors';
import { Engine } from './engine/engine.ts';
import { heapPiece, viewPiece } from './engine/piece.ts';
import { topologyOf } from './engine/topology.ts';
import { failureError, type Failure } from './failure.ts';
import { Group, type Runner } from './group.ts';
import { Heap } from './memory/heap.ts';
import { createMemory, memorySizes, WorkMemory } from './memory/work-memory.ts';
import { inProcessTransports } from './transport/in-process.ts';
import { SharedRegions } from './transport/shared-regions.ts';
import type { Transport } from './transport/transport.ts';

/** What in-process ranks pretend about their hosts. */
export interface InProcessOptions {
  /** The host of each rank, by any name. Default: one host. */
  readonly hosts?: readonly string[];
  /** Whether ranks of one host work on one memory. Default true. */
  readonly sharesMemory?: boolean;
  /** Bytes of a piece of a call. Default 1 MiB. */
  readonly stageBytes?: number;
  /** Bytes that `allocate` can give out to each rank. Default 16 MiB. */
  readonly sharedBytes?: number;
}

/**
 * All ranks of a group in the calling thread: the same algorithms and the same arithmetic as between processes, without
 * processes. For tests and for programs that only sometimes have several ranks.
 *
 * @returns one group for each rank
 */
export function inProcessGroups(worldSize: number, options: InProcessOptions = {}): Group[] {
  return createGroups(worldSize, options, inProcessTransports);
}

/** As `inProcessGroups`, over other transports of the same thread. */
export function createGroups(
  worldSize: number,
  { hosts, sharesMemory = true, stageBytes = 2 ** 20, sharedBytes = 2 ** 24 }: InProcessOptions,
  transports: (worldSize: number, report: (failure: Failure) => void) => Transport[],
): Group[] {
  if (!Number.isInteger(worldSize) || worldSize < 1) throw invalidArgument('worldSize', 'an integer ≥ 1', worldSize);
  const hostOf = hosts ?? Array.from({ length: worldSize }, () => 'host');
  if (hostOf.length !== worldSize) throw invalidArgument('hosts', `one name for each of ${worldSize} ranks`, hostOf);
  const sizes = memorySizes(stageBytes, sharedBytes);
  const members: { engine: Engine; fail(failure: Failure): void }[] = [];
  const report = (failure: Failure): void => {
    for (const member of members) member.fail(failure);
  };
  const lanes = transports(worldSize, report);
  const memories = new Map<string, WebAssembly.Memory>();

  return Array.from({ length: worldSize }, (_, rank) => {
    const topology = topologyOf(rank, hostOf, sharesMemory);
    const share = sharesMemory && topology.local.length > 1;
    const key = share ? hostOf[rank]! : `rank ${rank}`;
    const count = share ? topology.local.length : 1;
    const memory = memories.get(key) ?? createMemory(sizes, count, count);
    memories.set(key, memory);
    const region = share ? topology.local.indexOf(rank) : 0;
    const work = new WorkMemory(memory, sizes, region, { count, index: region });
    const regions = share ? new SharedRegions(work, topology.local, undefined, report) : undefined;
    const engine = new Engine(work, topology, lanes[rank]!, regions, report);
    const runner = new InProcessRunner(engine, report);
    members.push({ engine, fail: (failure) => runner.fail(failure) });
    return new Group(rank, worldSize, 0, runner);
  });
}

class InProcessRunner implements Runner {
  failure: Failure | undefined;
  readonly #heap: Heap;

  constructor(
    readonly engine: Engine,
    readonly report: (failure: Failure) => void,
  ) {
    const { heapStart, sizes } = engine.memory;
    this.#heap = new Heap(heapStart, heapStart + sizes.sharedBytes);
  }

  run: Runner['run'] = (call, tensors) => {
    const { memory } = this.engine;
    const pieces = tensors.map((tensor) =>
      tensor.buffer === memory.memory.buffer
        ? heapPiece(memory, tensor.byteOffset, tensor.length)
        : viewPiece(memory, tensor),
    );
    return this.engine.run(call, pieces);
  };

  allocate(elements: number): Promise<Float32Array> {
    const address = this.#heap.allocate(elements * 4);
    return Promise.resolve(new Float32Array(this.engine.memory.memory.buffer, address, elements));
  }

  lend = (): Promise<boolean> => Promise.resolve(false);

  statistics: Runner['statistics'] = () =>
    Promise.resolve({
      bytesSent: this.engine.transport.bytesSent,
      sharesMemory: this.engine.regions !== undefined,
    });

  abort(reason: string): void {
    const { rank } = this.engine.topology;
    this.report({ code: 'cancelled', rank, message: `rank ${rank} has aborted the group: ${reason}` });
  }

  async close(): Promise<void> {
    await this.engine.idle();
    await this.engine.transport.close();
  }

  fail(failure: Failure): void {
    this.failure ??= failure;
    this.engine.fail(failureError(this.failure));
  }
}
