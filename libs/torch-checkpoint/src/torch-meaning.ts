import { ClipGenError } from '@clip-gen/errors';
import { elementCount } from '@clip-gen/tensor';
import { elementType, storageElementType } from './element-types.ts';
import { shown } from './file-bytes.ts';
import { isInert } from './inert-names.ts';
import { MAX_PICKLE_OBJECTS, MAX_RANK } from './limits.ts';
import { PickleError, PickleTooLarge } from './pickle-error.ts';
import type { PickleMeaning } from './pickle-reader.ts';
import {
  GlobalName,
  PickleDict,
  PickleObject,
  PickleSet,
  PickleTuple,
  StorageReference,
  TensorReference,
  type PickleValue,
} from './pickle-value.ts';

type Arguments = readonly PickleValue[];

/**
 * What names in a checkpoint mean: the functions by which PyTorch puts tensors together are understood, names of
 * {@link isInert} become marks, TorchScript modules become their attributes, and every other name is refused. Storages
 * are remembered by key; no byte of them is read.
 */
export class TorchMeaning implements PickleMeaning {
  readonly storages = new Map<string, StorageReference>();
  #budget = MAX_PICKLE_OBJECTS;

  constructor(
    private readonly path: string,
    /** Whether classes under `__torch__` are modules of the archive. */
    private readonly scripted: boolean,
    /** Throws when the file has no such memory. */
    private readonly checkStorage: (storage: StorageReference) => void = () => undefined,
  ) {}

  name(global: GlobalName): PickleValue {
    const { module, name, path } = global;
    const torchName = module === 'torch' || module === 'torch.storage' || module === 'torch.cuda';
    const known =
      FUNCTIONS.has(path) ||
      (torchName && storageElementType(name) !== undefined) ||
      (module === 'torch' && elementType(name) !== undefined) ||
      this.#isModule(global) ||
      isInert(global);
    if (!known) throw this.#refused(global, 'names');
    return global;
  }

  call(callee: GlobalName, args: Arguments): PickleValue {
    const known = FUNCTIONS.get(callee.path);
    if (known) return known(args, this);
    if (isInert(callee)) return new PickleObject(callee, false);
    throw this.#refused(callee, 'calls');
  }

  make(type: GlobalName): PickleValue {
    if (type.path === 'collections.OrderedDict') return new PickleDict();
    if (this.#isModule(type)) return new PickleObject(type, true);
    if (isInert(type)) return new PickleObject(type, false);
    throw this.#refused(type, 'makes an object of');
  }

  /** `('storage', class, key, device, elements)`; the legacy format adds a view, which is none in practice. */
  outside(id: PickleValue): PickleValue {
    const [tag, type, key, , elements, part] = items(id, 'a persistent id');
    if (tag !== 'storage' || !(type instanceof GlobalName) || typeof key !== 'string') {
      throw new PickleError('it asks for something outside that is no storage');
    }
    if (part !== undefined && part !== null) {
      const hint = 'load it in PyTorch and write it again with torch.save';
      throw new ClipGenError('unimplemented', `${this.path}: storage ${shown(key)} is a part of another; ${hint}`);
    }
    const element = storageElementType(type.name);
    const bytes = element === undefined ? undefined : elementType(element)?.bytes;
    if (element === undefined || bytes === undefined) throw this.#refused(type, 'has a storage of type');
    const byteLength = bytes * size(elements, 'the length of a storage');
    if (!Number.isSafeInteger(byteLength)) throw new PickleError('a storage has 2^53 bytes or more');
    const known = this.storages.get(key);
    if (known) {
      if (known.type === element && known.byteLength === byteLength) return known;
      throw new PickleError(`storage ${shown(key)} has two lengths or types`);
    }
    const storage = new StorageReference(key, element, byteLength);
    this.checkStorage(storage);
    this.storages.set(key, storage);
    return storage;
  }

  /** Counts what a call copies: a few bytes of pickle can name the same long list again and again. */
  spend(items: number): void {
    this.#budget -= items;
    if (this.#budget < 0) throw new PickleTooLarge(`its calls must copy at most ${MAX_PICKLE_OBJECTS} values`);
  }

  #isModule({ module }: GlobalName): boolean {
    return this.scripted && (module === '__torch__' || module.startsWith('__torch__.'));
  }

  #refused({ path }: GlobalName, does: string): ClipGenError {
    const name = path.length > 80 ? `${path.slice(0, 77)}...` : path;
    const hint = 'in PyTorch, save the weights alone: torch.save(model.state_dict(), ...)';
    return new ClipGenError(
      'failed_precondition',
      `${this.path}: its pickle ${does} ${JSON.stringify(name).slice(1, -1)}, which is not part of a state dict; ` +
        `nothing was run; ${hint}`,
    );
  }
}

/** PyTorch's functions that put tensors together, by the names in pickles, and what each means here. */
const FUNCTIONS: ReadonlyMap<string, (args: Arguments, meaning: TorchMeaning) => PickleValue> = new Map<
  string,
  (args: Arguments, meaning: TorchMeaning) => PickleValue
>([
  ['torch._utils._rebuild_tensor', (args, meaning) => view(meaning, args)],
  ['torch._utils._rebuild_tensor_v2', (args, meaning) => view(meaning, args)],
  ['torch._utils._rebuild_tensor_v3', (args, meaning) => view(meaning, args, args[6])],
  ['torch._utils._rebuild_parameter', ([data]) => tensorIn(data)],
  ['torch._utils._rebuild_parameter_with_state', ([data]) => tensorIn(data)],
  ['torch._tensor._rebuild_from_type_v2', rebuildFromType],
  ['torch.Size', ([sizes]) => new PickleTuple(items(sizes ?? new PickleTuple([]), 'a size'))],
  ['collections.OrderedDict', orderedDict],
  ['_codecs.encode', encoded],
  ['torch.jit._pickle.restore_type_tag', ([value]) => present(value)],
  ['torch.jit._pickle.build_intlist', ([list]) => present(list)],
  ['torch.jit._pickle.build_doublelist', ([list]) => present(list)],
  ['torch.jit._pickle.build_boollist', ([list]) => present(list)],
  ['torch.jit._pickle.build_tensorlist', ([list]) => present(list)],
  ['builtins.set', setOf],
  ['__builtin__.set', setOf],
]);

/** A view of a storage, held against the storage's length: nothing is allocated for it. */
function view(
  meaning: TorchMeaning,
  [storage, offsetValue, shapeValue, stridesValue]: Arguments,
  typeValue?: PickleValue,
): TensorReference {
  if (!(storage instanceof StorageReference)) throw new PickleError('a tensor has no storage');
  const type = typeValue instanceof GlobalName ? typeValue.name : storage.type;
  const bytes = elementType(type)?.bytes;
  if (bytes === undefined) throw new PickleError(`a tensor has the unknown type ${shown(type)}`);
  const [sizes, steps] = [items(shapeValue ?? null, 'a shape'), items(stridesValue ?? null, 'strides')];
  if (sizes.length !== steps.length || sizes.length > MAX_RANK) {
    throw new PickleError(`a tensor of ${sizes.length} dimensions has ${steps.length} strides`);
  }
  meaning.spend(2 * sizes.length);
  const shape = sizes.map((value) => size(value, 'a size'));
  const strides = steps.map((value) => size(value, 'a stride'));
  const offset = size(offsetValue, 'an offset');
  let last = offset;
  shape.forEach((length, i) => (last += (length - 1) * strides[i]!));
  const count = elementCount(shape);
  const inside = count === 0 || (Number.isSafeInteger(last) && (last + 1) * bytes <= storage.byteLength);
  if (!Number.isSafeInteger(count * bytes) || !inside) {
    const reach = `[${shape.join(', ')}] with strides [${strides.join(', ')}] from ${offset} on`;
    throw new PickleError(`a tensor ${reach} must lie within ${storage.byteLength} bytes`);
  }
  return new TensorReference(storage, type, shape, strides, offset);
}

/** A parameter with attributes of its own, or of a subclass that adds nothing: the tensor under it. */
function rebuildFromType([func, , args]: Arguments, meaning: TorchMeaning): PickleValue {
  if (!(func instanceof GlobalName) || !func.path.startsWith('torch._utils.')) {
    throw new PickleError('a tensor is rebuilt by what rebuilds none');
  }
  return tensorIn(meaning.call(func, items(args ?? null, 'arguments')));
}

function orderedDict([pairs]: Arguments, meaning: TorchMeaning): PickleDict {
  const dict = new PickleDict();
  if (pairs === undefined) return dict;
  const list = items(pairs, 'the items of a dictionary');
  meaning.spend(list.length);
  for (const pair of list) {
    const [key, value] = items(pair, 'an item of a dictionary');
    dict.entries.set(present(key), present(value));
  }
  return dict;
}

function tensorIn(value: PickleValue | undefined): TensorReference {
  if (value instanceof TensorReference) return value;
  throw new PickleError('a parameter has no tensor');
}

function setOf([list]: Arguments, meaning: TorchMeaning): PickleSet {
  const set = new PickleSet();
  if (list === undefined) return set;
  const listed = items(list, 'the items of a set');
  meaning.spend(listed.length);
  for (const item of listed) set.items.push(item);
  return set;
}

function encoded([text]: Arguments, meaning: TorchMeaning): Uint8Array {
  if (typeof text !== 'string') throw new PickleError('bytes are encoded from what is no text');
  meaning.spend(text.length);
  return Uint8Array.from(Buffer.from(text, 'latin1'));
}

function present(value: PickleValue | undefined): PickleValue {
  if (value === undefined) throw new PickleError('a call lacks an argument');
  return value;
}

function items(value: PickleValue, what: string): readonly PickleValue[] {
  if (value instanceof PickleTuple) return value.items;
  if (Array.isArray(value)) return value;
  throw new PickleError(`${what} must be a tuple`);
}

function size(value: PickleValue | undefined, what: string): number {
  if (typeof value === 'number' && Number.isSafeInteger(value) && value >= 0) return value;
  throw new PickleError(`${what} must be an integer in [0, 2^53)`);
}
