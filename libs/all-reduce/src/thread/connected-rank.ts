import { ClipGenError } from '@clip-gen/errors';
import type { Call } from '../call.ts';
import { Engine } from '../engine/engine.ts';
import { addressPiece, heapPiece, viewPiece, type Piece } from '../engine/piece.ts';
import { failureError, type Failure } from '../failure.ts';
import type { GroupStatistics } from '../group.ts';
import { Heap } from '../memory/heap.ts';
import { LentMemory } from '../memory/lent-memory.ts';
import { unmapRegions, type MemoryFile } from '../memory/memory-file.ts';
import type { WorkMemory } from '../memory/work-memory.ts';
import { nativeCalls } from '../native/native-calls.ts';
import { Membership } from '../rendezvous/membership.ts';
import { Store } from '../rendezvous/store.ts';
import type { Listener } from '../transport/listener.ts';
import type { SharedRegions } from '../transport/shared-regions.ts';
import { SocketPump } from '../transport/socket-pump.ts';
import { SocketTransport } from '../transport/socket-transport.ts';
import { connectMemory, createMemoryFile } from './connect-memory.ts';
import { listen, ownAddress, peerAddresses } from './addresses.ts';
import type { PieceMessage, ThreadOptions } from './messages.ts';

/** A rank that has joined, in its communication thread. */
export interface ConnectedRank {
  readonly memory: WebAssembly.Memory;
  run(call: Call, pieces: readonly PieceMessage[]): Promise<undefined>;
  /** The address of as many zeros in `memory`. */
  allocate(elements: number): number;
  /** Where in `memory` these bytes of the process lie from now on; undefined when they cannot be shared. */
  lend(address: number, bytes: number): number | undefined;
  statistics(): GroupStatistics;
  abort(reason: string): void;
  /** @param gone what `lend` returned for memory that is no longer there */
  close(gone: readonly number[]): Promise<undefined>;
}

/**
 * Joins the group: opens sockets and a file of shared memory, meets the others at the store, connects to what they opened.
 *
 * @param failed is told once, when the group is over
 */
export async function connectRank(options: ThreadOptions, failed: (failure: Failure) => void): Promise<ConnectedRank> {
  const { rank, host, port, tls } = options;
  const settings = JSON.stringify({ transport: options.transport, ...options.sizes, tls: tls !== undefined });
  const cleanups: (() => Promise<void> | void)[] = [];
  const cleanUp = async (): Promise<void> => {
    for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
  };
  let over: Failure | undefined;
  let engine: Engine | undefined;
  let regions: SharedRegions | undefined;
  let transport: SocketTransport | undefined;
  let closed = false;
  try {
    if (rank === 0) {
      const { store } = await Store.listen({ ...options, host: isLoopback(host) ? host : '0.0.0.0', settings });
      cleanups.push(() => store.close());
    }
    const membership = new Membership(
      { ...options, rendezvous: `${host.includes(':') ? `[${host}]` : host}:${port}`, settings },
      {
        failed: (failure) => {
          over = failure;
          engine?.fail(failureError(failure));
          if (!closed) failed(failure);
        },
        left: (who) => {
          transport?.left(who);
          regions?.left(who);
        },
        progress: () => ({
          begun: engine?.begun ?? 0,
          ended: engine?.ended ?? 0,
          signature: engine?.signature ?? new Uint8Array(0),
        }),
      },
    );
    cleanups.push(() => membership.close());
    let reported = false;
    const report = (failure: Failure, stalled = false): void => {
      if (!reported && !closed) membership.report(failure, stalled);
      reported = true;
    };

    const listeners: Listener[] = await listen(options, isLoopback(host));
    cleanups.push(() => listeners.forEach((listener) => listener.close()));
    const file = createMemoryFile(options);
    if (file) cleanups.push(() => file.close());
    const { addresses, key } = await membership.join(ownAddress(options, listeners, file, isLoopback(host)));

    const shared = await connectMemory(options, addresses, file, membership, (failure) => report(failure));
    ({ regions } = shared);
    const native = nativeCalls();
    transport = new SocketTransport({
      ...{
        rank,
        key,
        listeners,
        tls,
        pump: native && new SocketPump(native, true),
      },
      addresses: peerAddresses(options, addresses),
      report: (failure) => report(failure),
    });
    const lanes = transport;
    if (shared.mapped > 0) {
      cleanups.push(() => native && unmapRegions(native, shared.memory, shared.mapped));
    }
    cleanups.push(() => lanes.close());
    engine = new Engine(shared.memory, shared.topology, transport, regions, report);
    const running = engine;
    if (over) running.fail(failureError(over));
    cleanups.push(watch(running, transport, regions, options, report));
    const heap = new Heap(shared.memory.heapStart, shared.memory.heapStart + shared.memory.sizes.sharedBytes);
    const tensors = rankMemory(shared.memory, heap, regions && file);
    const lent = native && file && regions && new LentMemory(native, shared.memory, heap, file);
    if (lent) cleanups.push(() => lent.giveBack());
    return {
      memory: shared.memory.memory,
      run: async (call, pieces) => {
        await running.run(call, pieces.map(tensors.piece));
        return undefined;
      },
      allocate: tensors.allocate,
      lend: (address, bytes) => lent?.lend(address, bytes),
      statistics: () => ({ bytesSent: lanes.bytesSent, sharesMemory: regions !== undefined }),
      abort: (reason) => {
        report({ code: 'cancelled', rank, message: `rank ${rank} has aborted the group: ${reason}` });
      },
      close: async (gone) => {
        await running.idle();
        closed = true;
        lent?.forget(gone);
        await cleanUp();
        return undefined;
      },
    };
  } catch (error) {
    closed = true;
    await cleanUp();
    throw error;
  }
}

/** Reports a call that makes no progress. Returns how to stop. */
function watch(
  engine: Engine,
  transport: SocketTransport,
  regions: SharedRegions | undefined,
  { rank, timeoutMs }: ThreadOptions,
  report: (failure: Failure, stalled: boolean) => void,
): () => void {
  let mark = '';
  let sinceMs = performance.now();
  const timer = setInterval(
    () => {
      const now = performance.now();
      const seen = [engine.begun, engine.ended, transport.received, regions?.meetings].join(' ');
      if (seen !== mark || engine.begun === engine.ended) sinceMs = now;
      mark = seen;
      if (now - sinceMs <= timeoutMs) return;
      const other = regions?.waitingFor ?? transport.waitingFor;
      const whom = other === undefined ? '' : ` for rank ${other}`;
      const message = `rank ${rank} has waited${whom} in call ${engine.begun - 1} for ${timeoutMs} ms`;
      report({ code: 'deadline_exceeded', rank: other, message }, true);
    },
    Math.min(1000, timeoutMs / 4),
  );
  return () => clearInterval(timer);
}

/**
 * Tensors of the computing thread as the engine sees them.
 *
 * @param file of the own region, where others see it
 */
function rankMemory(memory: WorkMemory, heap: Heap, file: MemoryFile | undefined) {
  const native = nativeCalls();
  const base = native?.addressOf(memory.bytes) ?? 0;
  return {
    piece: (message: PieceMessage): Piece => {
      switch (message.kind) {
        case 'address':
          if (!native) throw new ClipGenError('internal', 'an address without native calls');
          return addressPiece(base, native.copy, message.address, message.count);
        case 'heap':
          return heapPiece(memory, message.offset, message.count);
        case 'view':
          return viewPiece(memory, message.view);
      }
    },
    allocate: (elements: number): number => {
      const address = heap.allocate(elements * 4);
      const offset = address - memory.regionStart(memory.region);
      if (file?.reserve(offset, elements * 4) === false) {
        const mib = Math.ceil((elements * 4) / 2 ** 20);
        throw new ClipGenError(
          'resource_exhausted',
          `no room for ${mib} MiB in /dev/shm; enlarge it or use plain tensors`,
        );
      }
      return address;
    },
  };
}

function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || host.startsWith('127.');
}
