import { ClipGenError } from '@clip-gen/errors';
import { shown } from './file-bytes.ts';
import { MAX_MODULE_DEPTH, MAX_MODULES } from './limits.ts';
import { PickleDict, PickleObject, TensorReference, type PickleValue } from './pickle-value.ts';

/** Where training programs put the state dict beside their own notes. */
const ENTRIES = ['state_dict', 'model', 'model_state_dict', 'module', 'net', 'params'];

/** Tensors by name. */
export interface StateDict {
  /** The entry that holds them; empty when the file is nothing else. */
  readonly entry: string;
  readonly tensors: ReadonlyMap<string, TensorReference>;
}

/**
 * The tensors by name in what was saved: a state dict itself, one under a usual entry such as `state_dict` or `model`,
 * or the parameters and buffers of a TorchScript module by their paths. Values that are no tensors are left out.
 *
 * @param root the `root` of a checkpoint
 * @param path the file, for messages
 * @param entry take this entry and no other
 * @throws not_found when there are none; data_corrupt for modules nested too deeply
 */
export function stateDict(root: PickleValue, path: string, entry?: string): StateDict {
  if (root instanceof PickleObject) {
    const tensors = new Map<string, TensorReference>();
    collect(root, '', tensors, { path, above: new Set(), modules: 0 });
    if (tensors.size > 0) return { entry: '', tensors };
  }
  if (root instanceof PickleDict) {
    for (const name of entry === undefined ? ENTRIES : [entry]) {
      const tensors = tensorsOf(root.get(name));
      if (tensors.size > 0) return { entry: name, tensors };
    }
    const tensors = entry === undefined ? tensorsOf(root) : new Map<string, TensorReference>();
    if (tensors.size > 0) return { entry: '', tensors };
  }
  const keys = root instanceof PickleDict ? [...root.entries.keys()].filter((key) => typeof key === 'string') : [];
  const has = keys.length > 0 ? `; it has ${keys.slice(0, 6).map(shown).join(', ')}` : '';
  const wanted = entry === undefined ? 'a state dict' : `a state dict under ${shown(entry)}`;
  throw new ClipGenError('not_found', `${path} must hold ${wanted}${has}`);
}

function tensorsOf(value: PickleValue | undefined): Map<string, TensorReference> {
  const tensors = new Map<string, TensorReference>();
  if (!(value instanceof PickleDict)) return tensors;
  for (const [name, item] of value.entries) {
    if (typeof name === 'string' && item instanceof TensorReference) tensors.set(name, item);
  }
  return tensors;
}

interface Walk {
  readonly path: string;
  /** The modules around this one: a ring is found by them. */
  readonly above: Set<PickleObject>;
  modules: number;
}

/** A module's tensors and those of the modules in it. */
function collect(module: PickleObject, prefix: string, tensors: Map<string, TensorReference>, walk: Walk): void {
  const { path, above } = walk;
  if (above.size >= MAX_MODULE_DEPTH || above.has(module)) {
    throw new ClipGenError('data_corrupt', `${path}: its modules must nest less than ${MAX_MODULE_DEPTH} deep`);
  }
  if (++walk.modules > MAX_MODULES) {
    throw new ClipGenError('resource_exhausted', `${path}: it must have at most ${MAX_MODULES} modules`);
  }
  above.add(module);
  for (const [name, value] of module.attributes) {
    if (value instanceof TensorReference) tensors.set(prefix + name, value);
    else if (value instanceof PickleObject) collect(value, `${prefix}${name}.`, tensors, walk);
  }
  above.delete(module);
}
