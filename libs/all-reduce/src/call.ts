import type { WireFormat } from './kernel/kernels.ts';

/** What a group does together. */
export const COLLECTIVES = ['all-reduce', 'reduce-scatter', 'all-gather', 'broadcast', 'barrier'] as const;
/** One of {@link COLLECTIVES}. */
export type Collective = (typeof COLLECTIVES)[number];

/** How elements of the ranks are joined; `mean` is the sum divided by the number of ranks. */
export const REDUCTIONS = ['sum', 'mean', 'max'] as const;
/** One of {@link REDUCTIONS}. */
export type Reduction = (typeof REDUCTIONS)[number];

/** What float32 travels as over sockets; sums are float32 whatever it is. */
export const WIRE_FORMATS = ['float32', 'bfloat16', 'float16'] as const satisfies readonly WireFormat[];

/** How an all-reduce goes about it; `auto` chooses by size and topology. */
export const ALGORITHMS = ['auto', 'ring', 'tree', 'hierarchical'] as const;
/** One of {@link ALGORITHMS}. */
export type Algorithm = (typeof ALGORITHMS)[number];

/** One collective as every rank must call it. */
export interface Call {
  /** Calls of the group before this one. */
  readonly sequence: number;
  readonly collective: Collective;
  readonly reduction: Reduction;
  readonly wire: WireFormat;
  readonly algorithm: Algorithm;
  /** The sender of a broadcast; 0 otherwise. */
  readonly root: number;
  /** Elements of each tensor, as the rank passed them. */
  readonly counts: readonly number[];
}

/** Bytes of a signature: what two ranks compare before they touch each other's data. */
export const SIGNATURE_BYTES = 32;

/** A call in 32 bytes. Two calls with one signature fit together. */
export function signatureOf(call: Call): Uint8Array {
  const bytes = new Uint8Array(SIGNATURE_BYTES);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, call.sequence, true);
  bytes[4] = COLLECTIVES.indexOf(call.collective);
  bytes[5] = REDUCTIONS.indexOf(call.reduction);
  bytes[6] = WIRE_FORMATS.indexOf(call.wire);
  bytes[7] = ALGORITHMS.indexOf(call.algorithm);
  view.setUint32(8, call.root, true);
  view.setUint32(12, call.counts.length, true);
  view.setFloat64(
    16,
    call.counts.reduce((sum, count) => sum + count, 0),
    true,
  );
  view.setUint32(24, hashOf(call.counts), true);
  return bytes;
}

/** A signature in words: `call 7, all-reduce (sum, float32 on the wire) of 1000 elements in 1 tensor`. */
export function describeSignature(bytes: Uint8Array): string {
  const view = new DataView(bytes.buffer, bytes.byteOffset, SIGNATURE_BYTES);
  const collective = COLLECTIVES[bytes[4]!] ?? 'an unknown collective';
  const algorithm = ALGORITHMS[bytes[7]!];
  const details = [
    ...(collective.endsWith('reduce') || collective.startsWith('reduce') ? [REDUCTIONS[bytes[5]!] ?? '?'] : []),
    `${WIRE_FORMATS[bytes[6]!] ?? '?'} on the wire`,
    ...(algorithm === undefined || algorithm === 'auto' ? [] : [algorithm]),
    ...(collective === 'broadcast' ? [`from rank ${view.getUint32(8, true)}`] : []),
  ];
  const call = `call ${view.getUint32(0, true)}, ${collective}`;
  if (collective === 'barrier') return call;
  const tensors = view.getUint32(12, true);
  const sizes = `${view.getFloat64(16, true)} elements in ${tensors} ${tensors === 1 ? 'tensor' : 'tensors'}`;
  return `${call} (${details.join(', ')}) of ${sizes}`;
}

/** FNV-1a over the sizes: tells lists of the same sum apart. */
function hashOf(counts: readonly number[]): number {
  let hash = 0x811c9dc5;
  for (const count of counts) {
    for (const word of [count % 2 ** 32, Math.floor(count / 2 ** 32)]) {
      hash = Math.imul(hash ^ word, 0x01000193) >>> 0;
      hash ^= hash >>> 15;
    }
  }
  return hash >>> 0;
}
