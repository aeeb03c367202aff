import { ClipGenError } from '@clip-gen/errors';
import { tensor, type DType, type Tensor } from '@clip-gen/tensor';
import type { Attributes } from './attribute.ts';
import { showShape, type Shape } from './dim.ts';
import type { OpType } from './op-type.ts';
import type { Node, Value } from './value.ts';

/** A weight of the model: an input of a training graph, external data of a serving graph. */
export interface Parameter {
  readonly name: string;
  readonly value: Value;
}

/** What a node's output will be. */
export interface OutputSpec {
  readonly dtype: DType;
  readonly shape: Shape;
}

type MutableNode = { -readonly [K in keyof Node]: Node[K] };

/**
 * Collects nodes in topological order. The functions of `ops/` are the vocabulary; they check dtypes and shapes where
 * they are called, so a mistake throws at the line that made the node.
 */
export class GraphBuilder {
  readonly inputs: Value[] = [];
  readonly parameters: Parameter[] = [];
  readonly outputs: { readonly name: string; readonly value: Value }[] = [];
  readonly constants = new Map<string, { readonly value: Value; readonly data: Tensor }>();
  #scope: Node[] = [];
  #nextId = 0;
  #names = new Set<string>();
  #order = 0;
  #parametersByName = new Map<string, Value>();

  constructor(readonly name: string) {}

  /** Top-level nodes in topological order. */
  get nodes(): readonly Node[] {
    return this.#scope;
  }

  /** An input that the caller feeds. Named dimensions become symbolic dimensions of the model. */
  input(name: string, dtype: DType, shape: Shape): Value {
    const value = this.#value(name, dtype, shape);
    this.inputs.push(value);
    return value;
  }

  /**
   * A float32 weight with a static shape. Asked for twice by name it is the same value (shared weights).
   *
   * @throws invalid_argument when the name was taken with another shape
   */
  parameter(name: string, shape: readonly number[]): Value {
    const known = this.#parametersByName.get(name);
    if (known) {
      if (showShape(known.shape) !== showShape(shape)) {
        throw new ClipGenError(
          'invalid_argument',
          `parameter ${name} has shape ${showShape(known.shape)}; asked for ${showShape(shape)}`,
        );
      }
      return known;
    }
    const value = this.#value(name, 'float32', shape);
    this.#parametersByName.set(name, value);
    this.parameters.push({ name, value });
    return value;
  }

  /** A constant, stored inside the model file. Equal small constants are shared. */
  constant(data: Tensor): Value {
    const key =
      data.data.length <= 16 ? `${data.dtype}:${data.shape.join(',')}:${data.data.join(',')}` : `#${this.#nextId}`;
    const known = this.constants.get(key);
    if (known) return known.value;
    const value = this.#value(`const.${this.#nextId++}`, data.dtype, data.shape);
    this.constants.set(key, { value, data });
    return value;
  }

  /** A float32 (or other) scalar. */
  scalar(value: number, dtype: DType = 'float32'): Value {
    switch (dtype) {
      case 'float32':
        return this.constant(tensor(dtype, [], Float32Array.of(value)));
      case 'int64':
        return this.constant(tensor(dtype, [], BigInt64Array.of(BigInt(value))));
      case 'int32':
        return this.constant(tensor(dtype, [], Int32Array.of(value)));
      default:
        throw new ClipGenError('unimplemented', `scalar constants of dtype ${dtype} are not supported`);
    }
  }

  /** An int64 vector, as shapes and axes are given to operators. */
  int64(values: readonly number[]): Value {
    return this.constant(
      tensor(
        'int64',
        [values.length],
        BigInt64Array.from(values, (v) => BigInt(v)),
      ),
    );
  }

  /** Marks a value as a result of the graph under `name`. */
  output(name: string, value: Value): void {
    if (value.graph !== this) throw new ClipGenError('invalid_argument', `output ${name} belongs to another graph`);
    if (this.outputs.some((output) => output.name === name)) {
      throw new ClipGenError('invalid_argument', `output ${name} is defined twice`);
    }
    this.#take(name);
    this.outputs.push({ name, value });
  }

  /** Adds one ONNX node. Operators check their arguments before they call this. */
  emit(
    op: OpType,
    inputs: readonly (Value | null)[],
    attributes: Attributes,
    outputs: readonly OutputSpec[],
  ): readonly Value[] {
    this.#own(op, inputs);
    const node: MutableNode = { op, inputs, outputs: [], attributes, order: this.#order++ };
    node.outputs = outputs.map((output) => this.#value(`${op}.${this.#nextId++}`, output.dtype, output.shape, node));
    this.#scope.push(node);
    return node.outputs;
  }

  /**
   * Adds a composite: `body` emits the ONNX nodes and returns their results; for gradients they count as one node `op`
   * with its own rule.
   */
  compose(
    op: OpType,
    inputs: readonly (Value | null)[],
    attributes: Attributes,
    body: () => readonly Value[],
  ): readonly Value[] {
    this.#own(op, inputs);
    const outer = this.#scope;
    const lowered: Node[] = [];
    const order = this.#order++;
    this.#scope = lowered;
    let results: readonly Value[];
    try {
      results = body();
    } finally {
      this.#scope = outer;
    }
    const node: MutableNode = { op, inputs, outputs: [], attributes, lowered, order };
    // The same names with another producer: the runtime sees the lowered nodes, the gradient sees this one.
    node.outputs = results.map((result) => ({ ...result, producer: node }));
    this.#scope.push(node);
    return node.outputs;
  }

  #own(op: OpType, inputs: readonly (Value | null)[]): void {
    for (const input of inputs) {
      if (input && input.graph !== this) {
        throw new ClipGenError('invalid_argument', `${op}: input ${input.name} belongs to another graph`);
      }
    }
  }

  #value(name: string, dtype: DType, shape: Shape, producer?: Node): Value {
    this.#take(name);
    for (const dim of shape) {
      if (typeof dim === 'number' && !(Number.isSafeInteger(dim) && dim >= 0)) {
        throw new ClipGenError('invalid_argument', `${name}: shape ${showShape(shape)} holds a bad dimension`);
      }
    }
    return { graph: this, name, dtype, shape, ...(producer ? { producer } : {}) };
  }

  #take(name: string): void {
    if (this.#names.has(name)) throw new ClipGenError('invalid_argument', `the name ${name} is taken in ${this.name}`);
    this.#names.add(name);
  }
}
