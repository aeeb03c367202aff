/**
 * What a pickle unfolds to: plain data. Python's lists are arrays; dictionaries, tuples and sets have classes of their
 * own; a class or function is its name; an object is its attributes. Nothing here can be called.
 */
export type PickleValue =
  | null
  | boolean
  | number
  | bigint
  | string
  | Uint8Array
  | PickleValue[]
  | PickleTuple
  | PickleDict
  | PickleSet
  | GlobalName
  | PickleObject
  | StorageReference
  | TensorReference;

/** A `tuple`, or a `torch.Size`. */
export class PickleTuple {
  constructor(readonly items: readonly PickleValue[]) {}
}

/** A `set` or the like, in its order. */
export class PickleSet {
  readonly items: PickleValue[] = [];
}

/** A `dict`, `OrderedDict` or the like, in its order. Keys compare as JavaScript's do: strings and numbers by value. */
export class PickleDict {
  readonly entries = new Map<PickleValue, PickleValue>();

  get(key: string): PickleValue | undefined {
    return this.entries.get(key);
  }
}

/** A class or function that the pickle names. */
export class GlobalName {
  constructor(
    readonly module: string,
    readonly name: string,
  ) {}

  get path(): string {
    return `${this.module}.${this.name}`;
  }
}

/** An object of a class that is not run: its name, and the attributes that it was given, if they are kept. */
export class PickleObject {
  readonly attributes = new Map<string, PickleValue>();

  constructor(
    readonly type: GlobalName,
    /** Whether attributes are kept: those of TorchScript modules are, those of an optimizer's or trainer's are not. */
    readonly kept: boolean,
  ) {}
}

/** Memory that tensors are views of: a record of the archive. */
export class StorageReference {
  constructor(
    readonly key: string,
    /** PyTorch's name of the element type, such as `float16`; `uint8` for untyped memory. */
    readonly type: string,
    /** Bytes of the memory. */
    readonly byteLength: number,
  ) {}
}

/** A tensor as the file describes it: a strided view of a storage, checked to lie within it. */
export class TensorReference {
  constructor(
    readonly storage: StorageReference,
    /** PyTorch's name of the element type. */
    readonly type: string,
    readonly shape: readonly number[],
    /** In elements. */
    readonly strides: readonly number[],
    /** Of the first element, in elements. */
    readonly offset: number,
  ) {}
}
