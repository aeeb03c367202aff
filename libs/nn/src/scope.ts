import type { GraphBuilder, Value } from '@clip-gen/graph';
import type { Initializer, ParameterSpec } from './initializer.ts';

/**
 * Names parameters by the path of modules, as a PyTorch state dict does, and remembers how each starts.
 * A model's function takes a scope and asks it for weights; the same function serves training and inference.
 */
export class Scope {
  readonly #specs: Map<string, ParameterSpec>;

  constructor(
    readonly graph: GraphBuilder,
    readonly prefix = '',
    specs: Map<string, ParameterSpec> = new Map(),
  ) {
    this.#specs = specs;
  }

  /** The scope of a submodule: `scope.child('mlp').parameter('weight', …)` is `mlp.weight`. */
  child(name: string | number): Scope {
    return new Scope(this.graph, `${this.prefix}${name}.`, this.#specs);
  }

  /** A weight of this module. */
  parameter(name: string, shape: readonly number[], initializer: Initializer): Value {
    const path = this.prefix + name;
    if (!this.#specs.has(path)) this.#specs.set(path, { name: path, shape, initializer });
    return this.graph.parameter(path, shape);
  }

  /** Every parameter asked for so far, in order. */
  get specs(): readonly ParameterSpec[] {
    return [...this.#specs.values()];
  }
}
