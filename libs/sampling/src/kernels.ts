import { KERNELS_WASM } from './generated/kernels.ts';

/** First bytes of the memory, which hold the kernels' own table. */
export const TABLE_BYTES = 256;

/** The exports of `kernels.wat` over one memory. Addresses in bytes, multiples of 16; room for a multiple of 4 words. */
export interface Kernels {
  /**
   * Lists the sortable keys and places of the logits that reach `least`; how many, −1 when one is not finite.
   *
   * @param count of the row, a multiple of 4
   */
  collect(row: number, count: number, least: number, keys: number, indices: number): number;
  /** The largest key that `collect` has listed. */
  readonly most: WebAssembly.Global<'i32'>;
  /** The least. */
  readonly fewest: WebAssembly.Global<'i32'>;
  /**
   * Finds the bin of the k-th largest key and writes the places of the keys in it, at most `room`; how many they are.
   *
   * @param low the least of the floats
   * @param scale bins a unit of them
   * @param places receives the bin of each
   */
  boundary(
    keys: number,
    count: number,
    k: number,
    low: number,
    scale: number,
    places: number,
    histogram: number,
    bins: number,
    members: number,
    room: number,
  ): number;
  /** How many of the bin that `boundary` has found are among the k largest. */
  readonly wanted: WebAssembly.Global<'i32'>;
  /**
   * Writes the places of keys above `key`, and of those equal to it at `last` or before. One word behind the last chosen
   * is written too, unless all are chosen.
   */
  choose(keys: number, count: number, key: number, last: number, chosen: number): void;
}

let compiled: WebAssembly.Module | undefined;

/** The kernels over `memory`. The module is compiled once a process. */
export function instantiateKernels(memory: WebAssembly.Memory): Kernels {
  compiled ??= new WebAssembly.Module(Buffer.from(KERNELS_WASM, 'base64'));
  const instance = new WebAssembly.Instance(compiled, { row: { memory } });
  return instance.exports as unknown as Kernels;
}
