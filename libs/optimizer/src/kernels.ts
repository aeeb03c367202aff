import { KERNELS_WASM } from './generated/kernels.ts';

/** The exports of `kernels.wat` over one memory. Addresses and lengths in bytes, all multiples of 64. */
export interface Kernels {
  adamw(
    values: number,
    gradients: number,
    firstMoments: number,
    secondMoments: number,
    bytes: number,
    gradientScale: number,
    oneMinusBeta1: number,
    beta2: number,
    oneMinusBeta2: number,
    keep: number,
    stepSize: number,
    rootScale: number,
    epsilon: number,
  ): void;
  /** Sum of squares in float64. */
  squareSum(from: number, bytes: number): number;
  /** into += from */
  accumulate(into: number, from: number, bytes: number): void;
  /** average = decay · average + oneMinusDecay · values */
  average(average: number, values: number, bytes: number, decay: number, oneMinusDecay: number): void;
}

let compiled: WebAssembly.Module | undefined;

/** The kernels over `memory`. The module is compiled once a process; an instance costs about 10 KB. */
export function instantiateKernels(memory: WebAssembly.Memory): Kernels {
  compiled ??= new WebAssembly.Module(Buffer.from(KERNELS_WASM, 'base64'));
  const instance = new WebAssembly.Instance(compiled, { arena: { memory } });
  return instance.exports as unknown as Kernels;
}
