import { ClipGenError, invalidArgument } from '@clip-gen/errors';
import { elementCount, tensor, type Tensor } from '@clip-gen/tensor';
import { planArena, type ArenaOptions, type ArrayKind, type ParameterSpec } from './arena-layout.ts';
import { instantiateKernels, type Kernels } from './kernels.ts';

/** Float32 tensors by parameter name. */
export type FloatTensors = ReadonlyMap<string, Tensor<'float32'>>;

/** A parameter as the kernels see it. */
export interface ArenaSlice {
  readonly spec: ParameterSpec;
  readonly group: string;
  /** The kernels over the memory that holds it. */
  readonly kernels: Kernels;
  /** Its address in the array of each kind, in bytes. */
  readonly address: { readonly [K in ArrayKind]?: number };
  /** Padded length in bytes. */
  readonly bytes: number;
}

/** Neighbouring parameters of one segment. */
export interface ArenaBucket {
  /** What `kind` has of them, padding included, as one stretch. */
  readonly view: Float32Array<ArrayBuffer>;
  /** In memory order. */
  readonly slices: readonly ArenaSlice[];
}

interface Segment {
  readonly buffer: ArrayBuffer;
  readonly kernels: Kernels;
  readonly arrayBytes: number;
}

/**
 * Values, gradients and optimiser moments of a set of parameters, in WebAssembly memories that never grow, so that the
 * tensors handed out stay valid for the arena's life: an ONNX session reads `values` and writes `gradients` in place,
 * and the SIMD kernels update them in place. Everything starts as 0.
 *
 * The arena owns all buffers. They are ordinary (not shared) ArrayBuffers; do not transfer them. A parameter starts on
 * a 64-byte boundary. Within a segment (about 1 GiB) all values are contiguous, all gradients are, and so on; the
 * padding between parameters is 0 and stays 0 as long as nobody writes it.
 */
export class ParameterArena {
  /** In memory order. */
  readonly parameters: readonly ParameterSpec[];
  readonly values: FloatTensors;
  readonly gradients: FloatTensors;
  /** Running mean of the gradient, for checkpoints. */
  readonly firstMoments: FloatTensors;
  /** Running mean of the squared gradient, for checkpoints. */
  readonly secondMoments: FloatTensors;
  /** Moving average of the values; empty without `averages`. */
  readonly averages: FloatTensors;
  /** Gradients of one micro-batch; empty without `microGradients`. */
  readonly microGradients: FloatTensors;
  /** Bytes of all arrays. */
  readonly byteLength: number;
  /** What the optimiser walks over. */
  readonly slices: readonly ArenaSlice[];
  readonly #kinds: readonly ArrayKind[];
  readonly #segments: readonly Segment[];

  /**
   * Allocates everything; checks the limits first.
   *
   * @throws invalid_argument for a repeated name or an impossible shape
   * @throws resource_exhausted when it does not fit, naming the size
   */
  constructor(parameters: readonly ParameterSpec[], options: ArenaOptions = {}) {
    const layout = planArena(parameters, options);
    this.parameters = [...parameters];
    this.byteLength = layout.totalBytes;
    this.#kinds = layout.kinds;
    this.#segments = layout.arrayBytes.map((arrayBytes) => allocate(arrayBytes, layout.kinds.length));

    const tensors = new Map(layout.kinds.map((kind) => [kind, new Map<string, Tensor<'float32'>>()]));
    this.slices = layout.placements.map(({ spec, segment, offsetBytes, paddedBytes }) => {
      const { buffer, kernels, arrayBytes } = this.#segments[segment]!;
      const address: { [K in ArrayKind]?: number } = {};
      for (const [index, kind] of layout.kinds.entries()) {
        address[kind] = index * arrayBytes + offsetBytes;
        const data = new Float32Array(buffer, address[kind], elementCount(spec.shape));
        tensors.get(kind)!.set(spec.name, tensor('float32', spec.shape, data));
      }
      return { spec, group: spec.group ?? 'default', kernels, address, bytes: paddedBytes };
    });
    const of = (kind: ArrayKind): FloatTensors => tensors.get(kind) ?? new Map<string, Tensor<'float32'>>();
    this.values = of('values');
    this.gradients = of('gradients');
    this.firstMoments = of('firstMoments');
    this.secondMoments = of('secondMoments');
    this.averages = of('averages');
    this.microGradients = of('microGradients');
  }

  /**
   * One view a segment over the whole array of `kind`, padding included, e.g. for an all-reduce of the gradients.
   *
   * @throws failed_precondition when the arena was made without that array
   */
  ranges(kind: ArrayKind): Float32Array<ArrayBuffer>[] {
    const index = this.#indexOf(kind);
    return this.#segments.map(({ buffer, arrayBytes }) => new Float32Array(buffer, index * arrayBytes, arrayBytes / 4));
  }

  /**
   * The same array in pieces of whole parameters, in memory order, e.g. to reduce one while the next is still computed.
   *
   * @param bytes a bucket is closed when it has as many; a larger parameter has one of its own
   * @param firstBytes the same for the first bucket; each next one may have twice as many as the one before it, up to
   *   `bytes`. Default `bytes`
   * @throws failed_precondition when the arena was made without that array
   */
  buckets(kind: ArrayKind, bytes: number, firstBytes = bytes): ArenaBucket[] {
    this.#indexOf(kind);
    const lists: ArenaSlice[][] = [];
    let filled = Infinity;
    for (const slice of this.slices) {
      const full = Math.min(bytes, firstBytes * 2 ** (lists.length - 1));
      if (filled >= full || lists.at(-1)?.[0]?.kernels !== slice.kernels) {
        lists.push([]);
        filled = 0;
      }
      lists.at(-1)!.push(slice);
      filled += slice.bytes;
    }
    return lists.map((slices) => {
      const { buffer } = this.#segments.find(({ kernels }) => kernels === slices[0]!.kernels)!;
      const [first, last] = [slices[0]!, slices.at(-1)!];
      const [start, end] = [first.address[kind]!, last.address[kind]! + last.bytes];
      return { view: new Float32Array(buffer, start, (end - start) / 4), slices };
    });
  }

  /** Sets all gradients to 0. */
  zeroGradients(): void {
    for (const range of this.ranges('gradients')) range.fill(0);
  }

  /**
   * gradients += microGradients.
   *
   * @param slices only of these parameters; default all
   * @throws failed_precondition without `microGradients`
   */
  accumulateMicroGradients(slices: readonly ArenaSlice[] = this.slices): void {
    this.#indexOf('microGradients');
    for (const { kernels, address, bytes } of slices) {
      kernels.accumulate(address.gradients!, address.microGradients!, bytes);
    }
  }

  /**
   * averages = decay · averages + (1 − decay) · values. Start with decay 0, which copies.
   *
   * @param decay in [0, 1], e.g. 0.999
   * @throws failed_precondition without `averages`
   */
  updateAverage(decay: number): void {
    if (!(decay >= 0 && decay <= 1)) throw invalidArgument('decay', 'in [0, 1]', decay);
    const averages = this.#indexOf('averages');
    const values = this.#indexOf('values');
    for (const { kernels, arrayBytes } of this.#segments) {
      kernels.average(averages * arrayBytes, values * arrayBytes, arrayBytes, decay, 1 - decay);
    }
  }

  /**
   * The slices of some groups, or of all.
   *
   * @throws not_found for a group that no parameter has
   */
  slicesOf(groups?: readonly string[]): readonly ArenaSlice[] {
    if (groups === undefined) return this.slices;
    for (const group of groups) {
      if (!this.slices.some((slice) => slice.group === group)) {
        const known = [...new Set(this.slices.map((slice) => slice.group))].join(', ');
        throw new ClipGenError('not_found', `no parameter of group "${group}" in this arena; its groups: ${known}`);
      }
    }
    return this.slices.filter((slice) => groups.includes(slice.group));
  }

  #indexOf(kind: ArrayKind): number {
    const index = this.#kinds.indexOf(kind);
    if (index < 0) {
      throw new ClipGenError('failed_precondition', `this arena has no ${kind}: construct it with { ${kind}: true }`);
    }
    return index;
  }
}

function allocate(arrayBytes: number, kinds: number): Segment {
  const pages = Math.ceil((arrayBytes * kinds) / 65536);
  try {
    // initial = maximum: growing would detach every view that was handed out.
    const memory = new WebAssembly.Memory({ initial: pages, maximum: pages });
    return { buffer: memory.buffer, kernels: instantiateKernels(memory), arrayBytes };
  } catch (cause) {
    const mib = Math.ceil(pages / 16);
    throw new ClipGenError('resource_exhausted', `could not allocate ${mib} MiB of WebAssembly memory`, { cause });
  }
}
