import { totalmem } from 'node:os';
import { ClipGenError, invalidArgument } from '@clip-gen/errors';
import { elementCount } from '@clip-gen/tensor';

/** One parameter to train, float32. */
export interface ParameterSpec {
  /** Unique in its arena. */
  readonly name: string;
  readonly shape: readonly number[];
  /** Whether weight decay applies; see `defaultDecay`. */
  readonly decay: boolean;
  /** Parameters of a group can be stepped without the others. Default `'default'`. */
  readonly group?: string;
}

/** What the arena keeps for each parameter, in memory order. */
export type ArrayKind = 'values' | 'gradients' | 'firstMoments' | 'secondMoments' | 'averages' | 'microGradients';

/** Which arrays an arena keeps, and how much memory it may take. */
export interface ArenaOptions {
  /** Keep an exponential moving average of the values. Default false. */
  readonly averages?: boolean;
  /** Keep a second gradient array for accumulating over micro-batches. Default false. */
  readonly microGradients?: boolean;
  /** Bytes after which a new memory is begun. Default 1 GiB; a larger single parameter gets a memory of its own. */
  readonly segmentBytes?: number;
  /** Bytes that all memories may hold together. Default: this machine's (or container's) memory. */
  readonly limitBytes?: number;
}

/** Where a parameter lies: in each array of its segment at the same offset. */
export interface Placement {
  readonly spec: ParameterSpec;
  readonly segment: number;
  readonly offsetBytes: number;
  /** A multiple of 64; past the parameter's own bytes lie zeros. */
  readonly paddedBytes: number;
}

/** Where everything of an arena will lie, before anything is allocated. */
export interface ArenaLayout {
  readonly kinds: readonly ArrayKind[];
  readonly placements: readonly Placement[];
  /** Bytes of one array, for each segment. A segment holds `kinds.length` of them, one after the other. */
  readonly arrayBytes: readonly number[];
  readonly totalBytes: number;
}

const ALIGNMENT = 64;
/** What one WebAssembly memory can hold: 65536 pages of 64 KiB, less one so that no end address wraps to 0. */
const MEMORY_BYTES = 65535 * 65536;

/**
 * Places parameters in order, without allocating.
 *
 * @throws invalid_argument for no parameters, a repeated name or an impossible shape
 * @throws resource_exhausted when a parameter is too large for a memory, or all of them for `limitBytes`
 */
export function planArena(parameters: readonly ParameterSpec[], options: ArenaOptions = {}): ArenaLayout {
  if (parameters.length === 0) throw invalidArgument('parameters', 'at least one parameter', 'none');
  const kinds: ArrayKind[] = ['values', 'gradients', 'firstMoments', 'secondMoments'];
  if (options.averages) kinds.push('averages');
  if (options.microGradients) kinds.push('microGradients');
  const segmentBytes = options.segmentBytes ?? 2 ** 30;
  if (!(segmentBytes >= 65536 && segmentBytes <= MEMORY_BYTES)) {
    throw invalidArgument('segmentBytes', `in [65536, ${MEMORY_BYTES}]`, segmentBytes);
  }

  const names = new Set<string>();
  const placements: Placement[] = [];
  const arrayBytes: number[] = [];
  let totalBytes = 0;
  for (const spec of parameters) {
    if (names.has(spec.name)) throw invalidArgument('parameters', 'of different names', spec.name);
    names.add(spec.name);
    const paddedBytes = paddedSize(spec);
    const needed = paddedBytes * kinds.length;
    if (needed > MEMORY_BYTES) {
      throw new ClipGenError(
        'resource_exhausted',
        `parameter ${spec.name} [${spec.shape.join(', ')}] needs ${gib(needed)} for ${kinds.length} arrays; ` +
          `one WebAssembly memory holds ${gib(MEMORY_BYTES)}: split the parameter`,
      );
    }
    totalBytes += needed;
    const used = arrayBytes.at(-1);
    if (used === undefined || (used + paddedBytes) * kinds.length > segmentBytes) arrayBytes.push(0);
    const segment = arrayBytes.length - 1;
    const offsetBytes = arrayBytes[segment]!;
    placements.push({ spec, segment, offsetBytes, paddedBytes });
    arrayBytes[segment] = offsetBytes + paddedBytes;
  }

  const limitBytes = options.limitBytes ?? machineBytes();
  if (totalBytes > limitBytes) {
    throw new ClipGenError(
      'resource_exhausted',
      `the parameters need ${gib(totalBytes)} for ${kinds.length} float32 arrays; the limit is ${gib(limitBytes)}: ` +
        'train a smaller model or raise limitBytes',
    );
  }
  return { kinds, placements, arrayBytes, totalBytes };
}

function paddedSize({ name, shape }: ParameterSpec): number {
  const count = elementCount(shape);
  if (!shape.every((size) => Number.isInteger(size) && size >= 1) || !Number.isSafeInteger(count * ALIGNMENT)) {
    throw invalidArgument(`shape of parameter ${name}`, 'positive integers', `[${shape.join(', ')}]`);
  }
  return Math.ceil((count * 4) / ALIGNMENT) * ALIGNMENT;
}

/** Memory of the container where one is set, else of the machine. */
function machineBytes(): number {
  const constrained = process.constrainedMemory();
  return constrained ? Math.min(constrained, totalmem()) : totalmem();
}

function gib(bytes: number): string {
  return `${(bytes / 2 ** 30).toPrecision(3)} GiB`;
}
