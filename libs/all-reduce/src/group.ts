import { ClipGenError, invalidArgument } from '@clip-gen/errors';
import {
  ALGORITHMS,
  REDUCTIONS,
  WIRE_FORMATS,
  type Algorithm,
  type Call,
  type Collective,
  type Reduction,
} from './call.ts';
import { failureError, type Failure } from './failure.ts';
import type { WireFormat } from './kernel/kernels.ts';

/** How an all-reduce is done. Every rank must say the same. */
export interface AllReduceOptions {
  /** Default `sum`. */
  readonly op?: Reduction;
  /** What elements travel as between processes that do not share memory; sums are float32. Default `float32`. */
  readonly wire?: WireFormat;
  /** Default `auto`. */
  readonly algorithm?: Algorithm;
}

/** What a group has done so far. */
export interface GroupStatistics {
  /** Bytes that this rank has sent over sockets, headers included. */
  readonly bytesSent: number;
  /** Whether ranks of this host exchange through shared memory. */
  readonly sharesMemory: boolean;
}

/** What carries out a group's calls: a thread of its own, or the same thread for ranks of one process. */
export interface Runner {
  /** In the order of the calls. */
  run(call: Call, tensors: readonly Float32Array[]): Promise<void>;
  allocate(elements: number): Promise<Float32Array>;
  lend(tensor: Float32Array): Promise<boolean>;
  statistics(): Promise<GroupStatistics>;
  abort(reason: string): void;
  close(): Promise<void>;
  readonly failure: Failure | undefined;
}

/** A WebAssembly memory is a number of pages. */
const WASM_PAGE = 65536;
/** Elements of one call at most: what 32-bit counts of frames allow. */
const MAX_ELEMENTS = 2 ** 40;

/**
 * One rank's membership in a group of processes that compute together.
 *
 * Every rank must make the same calls in the same order with tensors of the same sizes; ranks that do not are told so, all
 * of them, and the group is over. Calls return at once and are carried out one after the other off the calling thread:
 * start several, compute, and await them when the results are needed. A tensor belongs to the group from the call until its
 * promise settles.
 *
 * When a call fails the whole group has failed: every pending and later call of every rank rejects with an error that names
 * the rank to blame, and the contents of the tensors that were under way are undefined. Join again to go on.
 */
export class Group {
  #sequence = 0;
  #closing: Promise<void> | undefined;
  readonly #runner: Runner;

  constructor(
    /** In [0, worldSize). */
    readonly rank: number,
    readonly worldSize: number,
    /** Which membership this is, as the ranks that joined agreed. */
    readonly epoch: number,
    runner: Runner,
  ) {
    this.#runner = runner;
  }

  /** Why the group is over; undefined while it is not. */
  get failure(): Failure | undefined {
    return this.#runner.failure;
  }

  /**
   * Replaces each element by the sum, mean or maximum over all ranks; the results are the same to the last bit on every
   * rank, and from run to run with the same ranks and hosts.
   *
   * @param tensors float32, one or several; also views of a WebAssembly memory. Those that `allocate` gave out are reduced
   *   where they lie, others are copied piece by piece while the call is under way
   */
  allReduce(tensors: Float32Array | readonly Float32Array[], options: AllReduceOptions = {}): Promise<void> {
    const list = tensors instanceof Float32Array ? [tensors] : tensors;
    return this.#call('all-reduce', list, options);
  }

  /**
   * Rank r receives the r-th of worldSize equal slices of the reduced input.
   *
   * @param input worldSize · output.length elements; left as it is
   */
  reduceScatter(
    input: Float32Array,
    output: Float32Array,
    options: Omit<AllReduceOptions, 'algorithm'> = {},
  ): Promise<void> {
    this.#checkSlices('input', input, 'output', output);
    return this.#call('reduce-scatter', [input, output], options);
  }

  /**
   * Every rank receives all inputs, in the order of ranks.
   *
   * @param output worldSize · input.length elements
   */
  allGather(input: Float32Array, output: Float32Array, options: Pick<AllReduceOptions, 'wire'> = {}): Promise<void> {
    this.#checkSlices('output', output, 'input', input);
    return this.#call('all-gather', [input, output], options);
  }

  /** Gives every rank the tensors of `root` (default 0). With a 16-bit wire format the root's are rounded too. */
  broadcast(
    tensors: Float32Array | readonly Float32Array[],
    { root = 0, wire }: { readonly root?: number; readonly wire?: WireFormat } = {},
  ): Promise<void> {
    if (!Number.isInteger(root) || root < 0 || root >= this.worldSize) {
      throw invalidArgument('root', `a rank in [0, ${this.worldSize})`, root);
    }
    const list = tensors instanceof Float32Array ? [tensors] : tensors;
    return this.#call('broadcast', list, { wire }, root);
  }

  /** Resolves when every rank has called it. */
  barrier(): Promise<void> {
    return this.#call('barrier', [], {});
  }

  /**
   * A tensor of zeros in the memory that the group works on: reducing it needs no copies. It is backed by a
   * SharedArrayBuffer and is valid until `close`.
   *
   * @throws resource_exhausted when the group's `sharedBytes` are used up, or the host's shared memory is
   */
  async allocate(elements: number): Promise<Float32Array> {
    if (!Number.isInteger(elements) || elements < 0) throw invalidArgument('elements', 'an integer ≥ 0', elements);
    this.#checkOpen();
    return this.#runner.allocate(elements);
  }

  /**
   * Makes the memory of a tensor part of what the ranks of the host share, where they do: until `close`, reducing it or a
   * view of it needs no copies. Its elements stay as they are, now and at `close`.
   *
   * After a failure other ranks may write to it until the group is closed.
   *
   * @param tensor of a WebAssembly memory of the caller that does not grow. Until the promise settles, and while the group
   *   closes, nothing else may write to it, nor to what lies up to a page before and after it
   * @returns whether it is shared now, which it is when it was before. Otherwise it is reduced as it was: no memory is
   *   shared, `sharedBytes` or the host's shared memory are used up, or one of its pages is lent already, to this group or
   *   another one
   * @throws invalid_argument for other memory; what the group has failed with
   */
  async lend(tensor: Float32Array): Promise<boolean> {
    const { buffer } = tensor;
    const canShrink = 'resizable' in buffer && buffer.resizable === true;
    if (buffer instanceof SharedArrayBuffer || canShrink || buffer.byteLength % WASM_PAGE !== 0) {
      const given = `${buffer.byteLength} bytes of other memory`;
      throw invalidArgument('tensor', 'a view of a WebAssembly memory that is not shared', given);
    }
    this.#checkOpen();
    return this.#runner.lend(tensor);
  }

  statistics(): Promise<GroupStatistics> {
    return this.#runner.statistics();
  }

  /** Ends the group on every rank: pending calls reject as cancelled, naming this rank and `reason`. */
  abort(reason: string): void {
    this.#runner.abort(reason);
  }

  /**
   * Waits for this rank's calls, then leaves; the others' pending calls are not disturbed if they do not need this rank.
   * Frees sockets, shared memory and the thread. After a failure it only frees.
   */
  close(): Promise<void> {
    this.#closing ??= this.#runner.close();
    return this.#closing;
  }

  #call(
    collective: Collective,
    tensors: readonly Float32Array[],
    { op = 'sum', wire = 'float32', algorithm = 'auto' }: AllReduceOptions,
    root = 0,
  ): Promise<void> {
    oneOf('op', op, REDUCTIONS);
    oneOf('wire', wire, WIRE_FORMATS);
    oneOf('algorithm', algorithm, ALGORITHMS);
    for (const [index, tensor] of tensors.entries()) {
      if (!(tensor instanceof Float32Array))
        throw invalidArgument(`tensors[${index}]`, 'a Float32Array', typeof tensor);
    }
    const counts = tensors.map(({ length }) => length);
    const total = counts.reduce((sum, count) => sum + count, 0);
    if (total > MAX_ELEMENTS) throw invalidArgument('tensors', `of at most ${MAX_ELEMENTS} elements in all`, total);
    this.#checkOpen();
    const call: Call = { sequence: this.#sequence++, collective, reduction: op, wire, algorithm, root, counts };
    const done = this.#runner.run(call, tensors);
    done.catch(() => undefined); // a rank that awaits later must not end its process until then
    return done;
  }

  #checkSlices(wholeName: string, whole: Float32Array, sliceName: string, slice: Float32Array): void {
    if (whole.length !== slice.length * this.worldSize) {
      const bound = `of worldSize · ${sliceName}.length = ${slice.length * this.worldSize} elements`;
      throw invalidArgument(wholeName, bound, whole.length);
    }
  }

  #checkOpen(): void {
    if (this.failure) throw failureError(this.failure);
    if (this.#closing) throw new ClipGenError('failed_precondition', 'the group is closed; join again');
  }
}

function oneOf<T extends string>(name: string, value: T, allowed: readonly T[]): void {
  if (!allowed.includes(value)) throw invalidArgument(name, `one of ${allowed.join(', ')}`, value);
}
