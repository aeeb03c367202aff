import { ClipGenError } from '@clip-gen/errors';
import { topologyOf, type Topology } from '../engine/topology.ts';
import type { Failure } from '../failure.ts';
import { futexSleeper, mapRegions, MemoryFile, unmapRegions } from '../memory/memory-file.ts';
import { createMemory, WorkMemory } from '../memory/work-memory.ts';
import { nativeCalls } from '../native/native-calls.ts';
import type { Address } from '../rendezvous/generated/rendezvous.ts';
import type { Membership } from '../rendezvous/membership.ts';
import { SharedRegions } from '../transport/shared-regions.ts';
import type { ThreadOptions } from './messages.ts';

/** The rank's memory, shared with its neighbours or not. */
export interface ConnectedMemory {
  readonly memory: WorkMemory;
  readonly topology: Topology;
  readonly regions: SharedRegions | undefined;
  /** Regions that files are mapped over. */
  readonly mapped: number;
}

/** The own region as a file, where the options and the system allow. */
export function createMemoryFile({ transport, sizes }: ThreadOptions): MemoryFile | undefined {
  const native = nativeCalls();
  if (!native || (transport !== 'auto' && transport !== 'shared-memory')) return undefined;
  return MemoryFile.create(native, sizes);
}

/**
 * Maps the neighbours' files; all ranks of a host share memory or none does. Returns when every rank of the group is ready.
 *
 * @throws unavailable when shared memory was asked for and cannot be had
 */
export async function connectMemory(
  { rank, sizes, transport }: ThreadOptions,
  addresses: readonly Address[],
  file: MemoryFile | undefined,
  membership: Membership,
  report: (failure: Failure) => void,
): Promise<ConnectedMemory> {
  const hosts = addresses.map(({ hostId }) => hostId);
  const { local } = topologyOf(rank, hosts, false);
  const native = nativeCalls();
  const paths = local.map((other) => addresses[other]!.memoryPath);
  let shared: WorkMemory | undefined;
  if (native && file && local.length > 1 && paths.every((path) => path !== '')) {
    shared = mapped(() => {
      const memory = new WorkMemory(createMemory(sizes, local.length), sizes, local.indexOf(rank));
      return mapRegions(native, memory, paths) ? memory : undefined;
    });
  }
  const sharing = await membership.ready(shared !== undefined);
  file?.unlink();
  const shares = shared !== undefined && sharing.includes(hosts[rank]!);
  if (shared && !shares && native) unmapRegions(native, shared, local.length);
  if (transport === 'shared-memory' && local.length > 1 && !shares) {
    throw new ClipGenError('unavailable', `the ranks of rank ${rank}'s host cannot share memory; use transport auto`);
  }
  const memory = shares && shared ? shared : new WorkMemory(createMemory(sizes, 1), sizes, 0);
  const regions = shares && native ? new SharedRegions(memory, local, futexSleeper(native, memory), report) : undefined;
  return { memory, regions, topology: topologyOf(rank, hosts, shares), mapped: shares ? local.length : 0 };
}

/** A memory that cannot be reserved is one that is not shared. */
function mapped(create: () => WorkMemory | undefined): WorkMemory | undefined {
  try {
    return create();
  } catch (error) {
    if (error instanceof ClipGenError && error.code === 'resource_exhausted') return undefined;
    throw error;
  }
}
