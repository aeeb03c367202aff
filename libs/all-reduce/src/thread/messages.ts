import type { ErrorCode } from '@clip-gen/errors';
import type { Call } from '../call.ts';
import type { Failure } from '../failure.ts';
import type { GroupStatistics } from '../group.ts';
import type { MemorySizes } from '../memory/work-memory.ts';
import type { RendezvousTimes } from '../rendezvous/store.ts';
import type { TlsFiles } from '../transport/tls-files.ts';

/** How ranks exchange: `auto` is shared memory within a host where it works, Unix sockets where not, TCP between hosts. */
export const TRANSPORTS = ['auto', 'shared-memory', 'unix', 'tcp'] as const;
/** One of them. */
export type TransportKind = (typeof TRANSPORTS)[number];

/** What the communication thread starts with: checked options. */
export interface ThreadOptions extends RendezvousTimes {
  readonly rank: number;
  readonly worldSize: number;
  readonly host: string;
  readonly port: number;
  readonly token: string;
  readonly epoch: number;
  readonly transport: TransportKind;
  /** Without progress of a call. */
  readonly timeoutMs: number;
  readonly sizes: MemorySizes;
  /** Names the own host; undefined to find out. */
  readonly hostId: string | undefined;
  readonly tls: TlsFiles | undefined;
}

/** A tensor on its way to the thread: an address of this process, an offset in the group's memory, or shared memory. */
export type PieceMessage =
  | { readonly kind: 'address'; readonly address: number; readonly count: number }
  | { readonly kind: 'heap'; readonly offset: number; readonly count: number }
  | { readonly kind: 'view'; readonly view: Float32Array };

/** To the thread. Everything but `abort` is answered under its id. */
export type Request =
  | { readonly kind: 'call'; readonly id: number; readonly call: Call; readonly pieces: readonly PieceMessage[] }
  | { readonly kind: 'allocate'; readonly id: number; readonly elements: number }
  | { readonly kind: 'lend'; readonly id: number; readonly address: number; readonly bytes: number }
  | { readonly kind: 'statistics'; readonly id: number }
  | { readonly kind: 'close'; readonly id: number; readonly gone: readonly number[] }
  | { readonly kind: 'abort'; readonly reason: string };

/** An error between threads. */
export interface ErrorMessage {
  readonly code: ErrorCode;
  readonly message: string;
}

/** From the thread. */
export type Answer =
  | { readonly kind: 'joined'; readonly memory: WebAssembly.Memory }
  | { readonly kind: 'refused'; readonly error: ErrorMessage }
  | { readonly kind: 'failed'; readonly failure: Failure }
  | { readonly kind: 'done'; readonly id: number; readonly value?: number | GroupStatistics }
  | { readonly kind: 'error'; readonly id: number; readonly error: ErrorMessage };
