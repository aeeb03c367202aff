import type { DType, Tensor } from '@clip-gen/tensor';

/** How a session is made. Every field has a default. */
export interface SessionOptions {
  /**
   * `c-api` calls ONNX Runtime's C functions in place: outputs are written into the caller's buffers, runs happen off the
   * JavaScript thread. `node` uses the public binding in a worker thread: every tensor is copied. `auto` (default) is
   * `c-api` where it loads and `node` elsewhere.
   */
  backend?: 'auto' | 'c-api' | 'node';
  /** Where the graph is computed; default `cpu`. One that this machine lacks is an `unavailable` error, never a silent CPU run. */
  provider?: 'cpu' | 'webgpu' | 'cuda';
  /** Threads of one operator, the calling one included, in [1, 1024]; default: the machine's physical cores that this process may use. */
  threads?: number;
  /** Folder in which the file names of a model's external data are looked up. Without it such a model does not load. */
  externalDataFolder?: string;
  /** Graph optimisation; default `all`. */
  optimization?: 'all' | 'extended' | 'basic' | 'none';
  /**
   * Whether idle operator threads burn CPU while they wait for the next operator; a number: for that many microseconds at
   * most, in [0, 10^6]. Default false: processes and sessions that share cores disturb each other far more than spinning
   * gains; switch it on where one session owns the machine. Some tens of microseconds bridge the gaps between the
   * operators of one run, and end with it.
   */
  spin?: boolean | number;
  /**
   * Whether the memory that runs work in is that of all sessions of this thread which say so, for graphs that run one
   * after the other: together they need what the largest needs, and find it warm. It is kept when they close. Default
   * false; without effect on `node`.
   */
  sharesMemory?: boolean;
  /**
   * Whether runs after the first take all that they work in as one block, as the first has shown. Default true; without
   * it large maps are taken and given back one by one, from what the first run left, and that block is spared.
   */
  memoryPattern?: boolean;
  /** Path prefix of a profile that ONNX Runtime writes when the session closes (`<prefix>_<time>.json`). */
  profilePrefix?: string;
}

/** What a graph input or output is declared to be: a number is an exact size, a string names a size that is known at run time. */
export interface TensorInfo {
  readonly name: string;
  readonly dtype: DType;
  /** Named sizes are equal wherever the name occurs in one run; `''` is unknown and free. */
  readonly shape: readonly (number | string)[];
}

/** Options of one run. */
export interface RunOptions {
  /**
   * Outputs that the caller has allocated; they are written in place (`c-api`: no copy) and come back as the same objects.
   * An output's buffer may be an input's too (a KV cache), if the operator that writes it allows that.
   */
  into?: Readonly<Record<string, Tensor>>;
  /** Names of the outputs to compute; default all. Those in `into` must be among them. */
  fetch?: readonly string[];
  /** When it aborts the run stops at its next operator and rejects with `cancelled`; `into` buffers are then undefined. */
  signal?: AbortSignal;
}

/** A loaded graph. It owns native memory: call `close()`. Safe to `run` concurrently. */
export interface Session {
  readonly backend: 'c-api' | 'node';
  readonly inputs: readonly TensorInfo[];
  readonly outputs: readonly TensorInfo[];
  /**
   * Computes the graph off the event loop. The caller keeps every buffer unchanged (no transfer, no growth of its
   * WebAssembly.Memory) until the promise settles. Outputs that are not in `into` are newly allocated and the caller's.
   *
   * @param feeds one tensor for each of `inputs`, by name
   * @throws invalid_argument for an unknown or missing name, a wrong dtype or shape
   * @throws failed_precondition after `close()`
   * @throws cancelled when `signal` aborted before the end
   * @throws internal with ONNX Runtime's message when an operator fails
   */
  run(feeds: Readonly<Record<string, Tensor>>, options?: RunOptions): Promise<Record<string, Tensor>>;
  /** Waits for running calls, then frees the native session. Idempotent. */
  close(): Promise<void>;
}
