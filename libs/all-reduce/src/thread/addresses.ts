import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { MemoryFile } from '../memory/memory-file.ts';
import { hostId } from '../native/host-id.ts';
import { ownedName, removeAbandoned } from '../native/process-files.ts';
import type { Address } from '../rendezvous/generated/rendezvous.ts';
import { Listener } from '../transport/listener.ts';
import type { PeerAddress } from '../transport/socket-lanes.ts';
import type { ThreadOptions } from './messages.ts';

/** A TCP listener, and one of a Unix socket unless TCP is asked for. */
export async function listen({ transport, tls }: ThreadOptions, loopback: boolean): Promise<Listener[]> {
  const listeners = [await Listener.listen({ host: loopback ? '127.0.0.1' : '0.0.0.0' }, tls)];
  if (transport !== 'tcp' && process.platform !== 'win32') {
    try {
      listeners.push(await Listener.listen({ path: socketPath() }, undefined));
    } catch (error) {
      listeners[0]!.close();
      throw error;
    }
  }
  return listeners;
}

/** What the others are told. */
export function ownAddress(
  options: ThreadOptions,
  listeners: readonly Listener[],
  file: MemoryFile | undefined,
  loopback: boolean,
): Address {
  return {
    hostId: options.hostId ?? hostId(),
    // Rank 0 calls itself; the others know it by this name already.
    host: loopback ? '127.0.0.1' : options.rank === 0 ? options.host : '',
    port: listeners[0]!.port,
    unixPath: listeners[1]?.path ?? '',
    memoryPath: file?.path ?? '',
  };
}

/** Unix sockets within the host, TCP to others. */
export function peerAddresses({ rank }: ThreadOptions, addresses: readonly Address[]): PeerAddress[] {
  const own = addresses[rank]!;
  return addresses.map(({ hostId: theirs, unixPath, host, port }) =>
    theirs === own.hostId && unixPath !== '' && own.unixPath !== '' ? { path: unixPath } : { host, port },
  );
}

/** Linux has names without files, which vanish with their process. */
function socketPath(): string {
  if (process.platform === 'linux') return `\0${ownedName('.socket')}`;
  removeAbandoned(tmpdir());
  return join(tmpdir(), ownedName('.socket'));
}
