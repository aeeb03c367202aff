import { createServer, type Server, type Socket } from 'node:net';
import { rmSync } from 'node:fs';
import { createServer as createTlsServer } from 'node:tls';
import { ClipGenError } from '@clip-gen/errors';
import { confirmation, greeting, laneOfReply, readFirst, REPLY_BYTES, type Lane } from './handshake.ts';
import type { TlsFiles } from './tls-files.ts';

/** Connections that have not proved anything yet: more are dropped. */
const MAX_STRANGERS = 256;
const GREETING_TIMEOUT_MS = 5000;

/** Where to listen: a TCP address or the path of a Unix socket. */
export type ListenAddress = { readonly host: string } | { readonly path: string };

/**
 * Takes connections of receivers. It listens before the group is known; who connects early waits for `open`. Whatever
 * cannot prove that it belongs to the group is dropped, and nobody is told.
 */
export class Listener {
  #strangers = 0;
  readonly #sockets = new Set<Socket>();
  readonly #opened: Promise<{ key: Uint8Array; accept: (lane: Lane, socket: Socket) => void }>;
  #open!: (group: { key: Uint8Array; accept: (lane: Lane, socket: Socket) => void }) => void;

  private constructor(
    readonly server: Server,
    readonly path: string | undefined,
  ) {
    this.#opened = new Promise((resolve) => (this.#open = resolve));
  }

  /** @throws unavailable when the address cannot be listened on */
  static async listen(address: ListenAddress, tls: TlsFiles | undefined): Promise<Listener> {
    const welcome = (socket: Socket): void => void listener.#greet(socket);
    const unix = 'path' in address;
    const server =
      tls && !unix
        ? createTlsServer({ ...tls, requestCert: true, rejectUnauthorized: true }, welcome)
        : createServer(welcome);
    const listener = new Listener(server, unix ? address.path : undefined);
    await new Promise<void>((resolve, reject) => {
      server.once('error', (cause: Error) => {
        const where = unix ? address.path : address.host;
        reject(new ClipGenError('unavailable', `cannot listen on ${where}: ${cause.message}`, { cause }));
      });
      server.listen(unix ? { path: address.path } : { host: address.host, port: 0 }, resolve);
    });
    server.on('error', () => undefined); // a connection that failed before it was one
    server.on('tlsClientError', () => undefined);
    return listener;
  }

  /** The TCP port. */
  get port(): number {
    const address = this.server.address();
    return typeof address === 'object' && address ? address.port : 0;
  }

  /** From now on connections are held to the key. */
  open(key: Uint8Array, accept: (lane: Lane, socket: Socket) => void): void {
    this.#open({ key, accept });
  }

  /** Drops those who have not been accepted; accepted sockets are their owner's. */
  close(): void {
    this.server.close();
    for (const socket of this.#sockets) socket.destroy();
    if (this.path !== undefined && !this.path.startsWith('\0')) rmSync(this.path, { force: true });
  }

  async #greet(socket: Socket): Promise<void> {
    socket.on('error', () => undefined); // 'close' follows
    if (this.#strangers >= MAX_STRANGERS) {
      socket.destroy();
      return;
    }
    this.#strangers++;
    this.#sockets.add(socket);
    try {
      socket.setNoDelay(true);
      const greeted = greeting();
      socket.write(greeted);
      const reply = await readFirst(socket, REPLY_BYTES, GREETING_TIMEOUT_MS);
      const { key, accept } = await this.#opened;
      const lane = laneOfReply(greeted, reply, key);
      if (!lane || socket.destroyed) {
        socket.destroy();
        return;
      }
      await new Promise((resolve) => socket.write(confirmation(greeted, reply, key), resolve));
      if (!socket.destroyed) accept(lane, socket);
    } catch {
      socket.destroy();
    } finally {
      this.#strangers--;
      this.#sockets.delete(socket);
    }
  }
}
