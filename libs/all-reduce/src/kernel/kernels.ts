import { KERNELS_WASM } from '../generated/kernels.ts';

/** How two float32 are joined; a mean is a sum and a scale. */
export type Combine = 'add' | 'max';
/** What a float32 travels as. */
export type WireFormat = 'float32' | 'bfloat16' | 'float16';
type HalfFormat = Exclude<WireFormat, 'float32'>;

type Unary = (into: number, from: number, count: number) => void;
type Binary = (into: number, a: number, b: number, count: number) => void;
type Together = (...placesFactorAndCount: number[]) => void;
type Exports = { readonly [C in Combine]: Binary } & { readonly scale: Unary; readonly copy: Unary } & {
  readonly [N in `${'decode' | 'encode' | Combine}_${HalfFormat}`]: Unary;
} & { readonly [N in `${Combine}_all${2 | 3 | 4}`]: Together };

/** The WebAssembly functions take multiples of this many elements. */
const STEP = 16;
/** Float32 that a core keeps close while it adds one tensor after the other to them. */
const BLOCK = 4096;
/** Bytes at the start of the scratch that the tails use. */
export const TAIL_BYTES = 3 * STEP * 4;

let compiled: WebAssembly.Module | undefined;

/**
 * Sums and conversions over one shared WebAssembly memory, by 128-bit SIMD. Addresses are in bytes within it; any count of
 * elements, 0 included. 16-bit results are rounded to nearest, ties to even; sums are float32.
 */
export class Kernels {
  readonly #exports: Exports;
  readonly #bytes: Uint8Array;
  readonly #tail: number;

  /** @param tail address of TAIL_BYTES that nothing else uses, aligned to 64 */
  constructor(memory: WebAssembly.Memory, tail: number) {
    compiled ??= new WebAssembly.Module(Buffer.from(KERNELS_WASM, 'base64'));
    this.#exports = new WebAssembly.Instance(compiled, { group: { memory } }).exports as unknown as Exports;
    this.#bytes = new Uint8Array(memory.buffer);
    this.#tail = tail;
  }

  /** into = a ∘ b in float32; `into` may be `a`. */
  combine(how: Combine, into: number, a: number, b: number, count: number): void {
    const run = this.#exports[how];
    const whole = count - (count % STEP);
    run(into, a, b, whole);
    if (whole === count) return;
    const [at, rest] = [whole * 4, (count - whole) * 4];
    const [x, y] = [this.#tail, this.#tail + STEP * 4];
    this.#copy(x, a + at, rest);
    this.#copy(y, b + at, rest);
    run(x, x, y, STEP);
    this.#copy(into + at, x, rest);
  }

  /** into = into ∘ from, where `from` is in a wire format and `into` float32. */
  accumulate(how: Combine, into: number, format: WireFormat, from: number, count: number): void {
    if (format === 'float32') this.combine(how, into, into, from, count);
    else this.#convert(this.#exports[`${how}_${format}`], into, 4, from, 2, count, true);
  }

  /** into = factor · into in float32. */
  scale(into: number, factor: number, count: number): void {
    if (factor === 1) return;
    const run = this.#exports.scale;
    const whole = count - (count % STEP);
    run(into, factor, whole);
    if (whole === count) return;
    const [at, rest] = [into + whole * 4, (count - whole) * 4];
    this.#copy(this.#tail, at, rest);
    run(this.#tail, factor, STEP);
    this.#copy(at, this.#tail, rest);
  }

  /**
   * At every place the same: factor · (first ∘ second ∘ …) in float32. Every element is read and written once, or, at more
   * than four places, while the core's cache has it.
   */
  combineAll(how: Combine, places: readonly number[], factor: number, count: number): void {
    const [first, ...others] = places;
    if (first === undefined) return;
    const whole = count - (count % STEP);
    const size = places.length;
    const fused = size === 2 || size === 3 || size === 4 ? size : undefined;
    if (fused && whole > 0) this.#exports[`${how}_all${fused}`](...places, factor, whole);
    for (let start = fused ? whole : 0; start < count; start += BLOCK) {
      const length = Math.min(BLOCK, count - start);
      const into = first + start * 4;
      for (const other of others) this.combine(how, into, into, other + start * 4, length);
      this.scale(into, factor, length);
      for (const other of others) this.copy(other + start * 4, into, length);
    }
  }

  /** into = from, float32. Faster than copying within the shared buffer, which JavaScript does word by word. */
  copy(into: number, from: number, count: number): void {
    this.#exports.copy(into, from, count);
  }

  /** float32 from a wire format; float32 itself is copied. */
  decode(into: number, format: WireFormat, from: number, count: number): void {
    if (format === 'float32') this.copy(into, from, count);
    else this.#convert(this.#exports[`decode_${format}`], into, 4, from, 2, count, false);
  }

  /** A wire format from float32; float32 itself is copied. */
  encode(into: number, format: WireFormat, from: number, count: number): void {
    if (format === 'float32') this.copy(into, from, count);
    else this.#convert(this.#exports[`encode_${format}`], into, 2, from, 4, count, false);
  }

  #convert(
    run: Unary,
    into: number,
    intoSize: number,
    from: number,
    fromSize: number,
    count: number,
    readsInto: boolean,
  ): void {
    const whole = count - (count % STEP);
    run(into, from, whole);
    if (whole === count) return;
    const rest = count - whole;
    const [x, y] = [this.#tail, this.#tail + STEP * 4];
    if (readsInto) this.#copy(x, into + whole * intoSize, rest * intoSize);
    this.#copy(y, from + whole * fromSize, rest * fromSize);
    run(x, y, STEP);
    this.#copy(into + whole * intoSize, x, rest * intoSize);
  }

  #copy(into: number, from: number, bytes: number): void {
    this.#bytes.copyWithin(into, from, from + bytes);
  }
}

/** Bytes of one element on the wire. */
export function wireBytes(format: WireFormat): number {
  return format === 'float32' ? 4 : 2;
}
