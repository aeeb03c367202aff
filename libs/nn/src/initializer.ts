import { ClipGenError } from '@clip-gen/errors';
import { RandomStream } from '@clip-gen/rng';
import { elementCount, emptyTensor, type Tensor } from '@clip-gen/tensor';

/** How a parameter starts. */
export type Initializer =
  | { readonly kind: 'constant'; readonly value: number }
  | { readonly kind: 'normal'; readonly std: number }
  | { readonly kind: 'uniform'; readonly bound: number };

/** All 0. */
export const zeros: Initializer = { kind: 'constant', value: 0 };
/** All 1. */
export const ones: Initializer = { kind: 'constant', value: 1 };
/** All `value`. */
export const constant = (value: number): Initializer => ({ kind: 'constant', value });
/** N(0, std²). */
export const normal = (std: number): Initializer => ({ kind: 'normal', std });
/** U(−bound, bound). */
export const uniform = (bound: number): Initializer => ({ kind: 'uniform', bound });
/** PyTorch's default for Linear and Conv, weight and bias alike: U(±1/√fanIn). */
export const fanIn = (count: number): Initializer => uniform(1 / Math.sqrt(count));
/** Glorot and Bengio (2010): U(±√(6/(fanIn + fanOut))). */
export const xavier = (into: number, out: number): Initializer => uniform(Math.sqrt(6 / (into + out)));

/** Name, shape and start of one float32 weight. */
export interface ParameterSpec {
  readonly name: string;
  readonly shape: readonly number[];
  readonly initializer: Initializer;
}

/** Starting values, a function of (seed, name, shape) alone: adding a parameter leaves the others as they were. */
export function initialize(specs: readonly ParameterSpec[], seed: number): Map<string, Tensor<'float32'>> {
  return new Map(specs.map((spec) => [spec.name, initializeOne(spec, seed)]));
}

function initializeOne({ name, shape, initializer }: ParameterSpec, seed: number): Tensor<'float32'> {
  const values = emptyTensor('float32', shape);
  const stream = new RandomStream(seed, hash(name), elementCount(shape) >>> 0);
  switch (initializer.kind) {
    case 'constant':
      values.data.fill(initializer.value);
      break;
    case 'normal':
      for (let i = 0; i < values.data.length; i++) values.data[i] = stream.normal() * initializer.std;
      break;
    case 'uniform':
      for (let i = 0; i < values.data.length; i++) values.data[i] = (2 * stream.uniform() - 1) * initializer.bound;
      break;
  }
  if (values.data.some((value) => !Number.isFinite(value))) {
    throw new ClipGenError('internal', `the start of ${name} is not finite`);
  }
  return values;
}

/** FNV-1a of the name's UTF-16 units, uint32. */
function hash(text: string): number {
  let h = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) h = Math.imul(h ^ text.charCodeAt(i), 0x01000193);
  return h >>> 0;
}
