import type { Tensor } from '@clip-gen/tensor';
import type { World } from './distributed/world.ts';
import { scalarOf } from './step-graph.ts';

/** Means of scalar outputs over the runs of one step; those that a graph does not have are left out. */
export class MeanScalars {
  readonly #sums = new Map<string, number>();
  #runs = 0;

  constructor(readonly names: readonly string[]) {}

  add(outputs: Readonly<Record<string, Tensor>>): void {
    this.#runs++;
    for (const name of this.names) {
      if (outputs[name]) this.#sums.set(name, (this.#sums.get(name) ?? 0) + scalarOf(outputs, name));
    }
  }

  /** By name, also over the processes. */
  means(world: World): Promise<Record<string, number>> {
    return world.means(Object.fromEntries([...this.#sums].map(([name, sum]) => [name, sum / this.#runs])));
  }
}
