import { randomBytes } from 'node:crypto';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import type { Group } from './group.ts';
import { createGroups, type InProcessOptions } from './in-process-groups.ts';
import { nativeCalls } from './native/native-calls.ts';
import { ownedName } from './native/process-files.ts';
import { Listener } from './transport/listener.ts';
import type { PeerAddress } from './transport/socket-lanes.ts';
import { SocketPump } from './transport/socket-pump.ts';
import { SocketTransport } from './transport/socket-transport.ts';
import type { TlsFiles } from './transport/tls-files.ts';

/** Ranks of one thread that exchange over real sockets: for tests of the sockets without threads and rendezvous. */
export async function socketGroups(
  worldSize: number,
  kind: 'tcp' | 'unix',
  options: InProcessOptions & {
    readonly tls?: TlsFiles;
    /** Whether bytes are moved by the system's calls, where they are at hand, or by the event loop. Default true. */
    readonly direct?: boolean;
  } = {},
): Promise<{
  readonly groups: Group[];
  readonly addresses: readonly PeerAddress[];
  readonly transports: SocketTransport[];
}> {
  const key = randomBytes(32);
  const { tls, direct = true } = options;
  const native = direct ? nativeCalls() : undefined;
  const listeners = await Promise.all(
    Array.from({ length: worldSize }, () =>
      Listener.listen(kind === 'tcp' ? { host: '127.0.0.1' } : { path: `\0${ownedName('.socket')}` }, tls),
    ),
  );
  const addresses = listeners.map(({ path, port }) => (path === undefined ? { host: '127.0.0.1', port } : { path }));
  const transports: SocketTransport[] = [];
  const groups = createGroups(worldSize, { sharesMemory: false, ...options }, (_, report) => {
    for (const [rank, listener] of listeners.entries()) {
      const pump = native && new SocketPump(native, false);
      transports.push(new SocketTransport({ rank, addresses, key, listeners: [listener], tls, report, pump }));
    }
    return transports;
  });
  return { groups, addresses, transports };
}

/** A port of the loopback address that nobody listens on now. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}
