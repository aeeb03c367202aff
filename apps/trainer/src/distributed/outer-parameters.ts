import { createHash } from 'node:crypto';
import { tensor, type Tensor } from '@clip-gen/tensor';
import { savedTensor } from '../saved-state.ts';
import { addDecodedDelta, encodeDelta, encodedBytes } from './delta-codec.ts';
import { outerStep, type OuterOptions } from './outer-optimizer.ts';
import type { World } from './world.ts';

/** Bits of a value of a delta on its way. */
export type DeltaBits = 8 | 16 | 32;

/**
 * The parameters that all processes had when the round began, and the outer optimiser's momentum: the same bits on all of
 * them. What a process has made of the parameters since then is its delta.
 */
export class OuterParameters {
  /** Where the local steps change them, one stretch of memory each. */
  readonly #values: readonly Float32Array[];
  readonly #outer: readonly Float32Array[];
  readonly #momentum: readonly Float32Array[];
  /** In 8 bits: what rounding has kept back of this process's deltas. */
  #residual: readonly Float32Array[];
  /** For deltas on their way, and in 8 bits for the residual to come. */
  #scratch: readonly Float32Array[];
  readonly #options: OuterOptions & { readonly deltaBits: DeltaBits };

  /** @param values stays the caller's: the outer step writes them */
  constructor(values: readonly Float32Array[], options: OuterOptions & { readonly deltaBits: DeltaBits }) {
    const alike = (): Float32Array[] => values.map(({ length }) => new Float32Array(length));
    this.#values = values;
    this.#outer = values.map((array) => array.slice());
    this.#momentum = alike();
    this.#residual = options.deltaBits === 8 ? alike() : [];
    this.#scratch = alike();
    this.#options = options;
  }

  /** What all have in common between rounds. The caller may overwrite it with that of another process. */
  get shared(): readonly Float32Array[] {
    return [...this.#outer, ...this.#momentum];
  }

  /** The same number on two processes whose outer parameters and momentum are the same: 48 bits of their hash. */
  digest(): number {
    const hash = createHash('sha256');
    for (const array of this.shared) hash.update(array);
    return hash.digest().readUIntBE(0, 6);
  }

  /** Whether the local steps have made nothing that is not finite. */
  isFinite(): boolean {
    return this.#values.every((array) => array.every(Number.isFinite));
  }

  /** Takes the values as they are for the outer parameters: between rounds, and where something else moved them. */
  adopt(): void {
    this.#outer.forEach((array, i) => array.set(this.#values[i]!));
  }

  /** Drops what the local steps have made of the values. */
  revert(): void {
    this.#values.forEach((array, i) => array.set(this.#outer[i]!));
  }

  /** After it took another process's outer parameters. */
  restart(): void {
    this.revert();
    for (const array of this.#residual) array.fill(0);
  }

  /**
   * The outer step on the mean delta of those who contribute; all make the call. Nothing is changed when it fails.
   *
   * @param contributes by place in `world.members`, at least one
   * @param own place of this process
   */
  async step(world: World, contributes: readonly boolean[], own: number): Promise<void> {
    const mean = await this.#meanDelta(world, contributes, own);
    mean.forEach((delta, i) => outerStep(this.#outer[i]!, this.#momentum[i]!, delta, this.#options));
    this.revert();
  }

  /** Euclidean length of the way from the outer parameters to the values. */
  get distance(): number {
    let squares = 0;
    this.#values.forEach((array, i) => {
      const outer = this.#outer[i]!;
      for (let j = 0; j < array.length; j++) squares += (outer[j]! - array[j]!) ** 2;
    });
    return Math.sqrt(squares);
  }

  async #meanDelta(world: World, contributes: readonly boolean[], own: number): Promise<readonly Float32Array[]> {
    const { deltaBits } = this.#options;
    const count = contributes.filter(Boolean).length;
    const takesPart = contributes[own]!;
    this.#scratch.forEach((delta, i) => {
      const [outer, values, residual] = [this.#outer[i]!, this.#values[i]!, this.#residual[i]];
      if (!takesPart) return void delta.fill(0);
      for (let j = 0; j < delta.length; j++) delta[j] = outer[j]! - values[j]! + (residual ? residual[j]! : 0);
    });
    if (deltaBits !== 8) {
      await world.mean(this.#scratch, deltaBits === 16 ? 'bfloat16' : 'float32');
      const scale = contributes.length / count;
      if (scale !== 1) for (const delta of this.#scratch) for (let j = 0; j < delta.length; j++) delta[j]! *= scale;
      return this.#scratch;
    }
    const bytes = await world.gather(this.#encode());
    if (takesPart) [this.#residual, this.#scratch] = [this.#scratch, this.#residual];
    return this.#decode(bytes, contributes, count);
  }

  /** The scratch in 8 bits, as words; what is lost stays there. */
  #encode(): Float32Array {
    const words = new Float32Array(this.#scratch.reduce((sum, { length }) => sum + encodedBytes(length) / 4, 0));
    let at = 0;
    for (const delta of this.#scratch) {
      const bytes = new Uint8Array(words.buffer, at, encodedBytes(delta.length));
      encodeDelta(delta, bytes, delta);
      at += bytes.length;
    }
    return words;
  }

  /** The mean, in the order of ranks, in the scratch. */
  #decode(words: Float32Array, contributes: readonly boolean[], count: number): readonly Float32Array[] {
    const one = words.byteLength / contributes.length;
    let at = 0;
    for (const mean of this.#scratch) {
      const length = encodedBytes(mean.length);
      mean.fill(0);
      for (const [place, takesPart] of contributes.entries()) {
        if (!takesPart) continue;
        addDecodedDelta(new Uint8Array(words.buffer, words.byteOffset + place * one + at, length), 1 / count, mean);
      }
      at += length;
    }
    return this.#scratch;
  }

  /** What a checkpoint must keep besides the values. */
  *tensors(): Generator<readonly [string, Tensor<'float32'>]> {
    for (const [kind, arrays] of [
      ['momentum', this.#momentum],
      ['residual', this.#residual],
    ] as const) {
      for (const [i, array] of arrays.entries()) {
        yield [`outer.${kind}.${i}`, tensor('float32', [array.length], array as Float32Array<ArrayBuffer>)];
      }
    }
  }

  /** Between rounds. @throws failed_precondition when a tensor is missing or has another shape */
  restore(saved: ReadonlyMap<string, Tensor>): void {
    const pairs = [...this.tensors()].map(([name, own]) => [own, savedTensor(saved, name, own)] as const);
    for (const [own, found] of pairs) own.data.set(found.data);
    this.adopt();
  }
}
