import { ClipGenError } from '@clip-gen/errors';
import type { Tensor } from '@clip-gen/tensor';
import { elementCount } from '@clip-gen/tensor';
import type { TensorInfo } from './session.ts';

/** Sizes that named dimensions have in one run. */
export type NamedSizes = Map<string, number>;

/** `[N, 3]` */
export function shapeText(shape: readonly (number | string)[]): string {
  return `[${shape.map((size) => (size === '' ? '?' : size)).join(', ')}]`;
}

/**
 * Checks a tensor against what the graph declares.
 *
 * @param role `input` or `output`, for the message
 * @throws invalid_argument naming the tensor, what was expected and what was given
 */
export function checkTensor(role: 'input' | 'output', info: TensorInfo, tensor: Tensor): void {
  const { dtype, shape, data } = tensor;
  if (dtype !== info.dtype) throw mismatch(role, info, `${dtype}${shapeText(shape)}`);
  let matches = shape.length === info.shape.length;
  for (let i = 0; matches && i < shape.length; i++) {
    const declared = info.shape[i];
    const size = shape[i] as number;
    matches = typeof declared === 'number' ? size === declared : Number.isSafeInteger(size) && size >= 0;
  }
  if (!matches) throw mismatch(role, info, `${dtype}${shapeText(shape)}`);
  const count = elementCount(shape);
  if (data.length !== count) {
    const why = data.length === 0 && data.buffer.byteLength === 0 ? ': its buffer was transferred or has grown' : '';
    throw new ClipGenError(
      'invalid_argument',
      `${role} "${info.name}" must hold ${count} elements for ${dtype}${shapeText(shape)}; got ${data.length}${why}`,
    );
  }
}

/**
 * Collects the sizes of named dimensions.
 *
 * @throws invalid_argument when a name that has a size already meets another
 */
export function nameSizes(
  role: 'input' | 'output',
  info: TensorInfo,
  shape: readonly number[],
  sizes: NamedSizes,
): void {
  for (let i = 0; i < info.shape.length; i++) {
    const name = info.shape[i];
    if (typeof name !== 'string' || name === '') continue;
    const size = shape[i] as number;
    const known = sizes.get(name);
    if (known === undefined) sizes.set(name, size);
    else if (known !== size) {
      throw new ClipGenError(
        'invalid_argument',
        `${role} "${info.name}" must be ${info.dtype}${shapeText(info.shape)} with ${name} = ${known} as in the other inputs; got ${shapeText(shape)}`,
      );
    }
  }
}

/** The shape of an output when every size is declared or named by an input; undefined when only the run can tell. */
export function knownShape(info: TensorInfo, sizes: NamedSizes): number[] | undefined {
  const shape: number[] = [];
  for (const declared of info.shape) {
    const size = typeof declared === 'number' ? declared : sizes.get(declared);
    if (size === undefined) return undefined;
    shape.push(size);
  }
  return shape;
}

/**
 * @param known the graph's names
 * @param field the argument that holds `names`, for the message
 * @throws invalid_argument when a name is not known
 */
function checkNames(
  role: 'input' | 'output',
  known: ReadonlySet<string>,
  names: Iterable<string>,
  field: string,
): void {
  for (const name of names) {
    if (known.has(name)) continue;
    const shown = known.size > 8 ? `${[...known].slice(0, 8).join(', ')}, ... (${known.size})` : [...known].join(', ');
    throw new ClipGenError(
      'invalid_argument',
      `${field} names "${name}", which is no ${role}; the ${role}s are ${shown}`,
    );
  }
}

/** @throws invalid_argument when `feeds`, in which no input is missing, holds anything else */
export function checkFeedNames(known: ReadonlySet<string>, feeds: Readonly<object>): void {
  const names = Object.keys(feeds);
  if (names.length !== known.size) checkNames('input', known, names, 'feeds');
}

/**
 * The outputs to compute, in the graph's order; all when `fetch` is not given.
 *
 * @throws invalid_argument when `fetch` has unknown or repeated names, none at all, or lacks one of `into`
 */
export function checkFetch(
  known: ReadonlySet<string>,
  fetch: readonly string[] | undefined,
  into: Readonly<object>,
): ReadonlySet<string> {
  checkNames('output', known, Object.keys(into), 'into');
  if (fetch === undefined) return known;
  checkNames('output', known, fetch, 'fetch');
  const chosen = new Set(fetch);
  if (chosen.size === 0) throw new ClipGenError('invalid_argument', 'fetch must name at least one output; got none');
  if (chosen.size !== fetch.length) {
    throw new ClipGenError('invalid_argument', `fetch must name each output once; got ${fetch.join(', ')}`);
  }
  for (const name of Object.keys(into)) {
    if (chosen.has(name)) continue;
    throw new ClipGenError(
      'invalid_argument',
      `into names output "${name}", which is not in fetch; add it or leave it out`,
    );
  }
  return chosen;
}

/** The error of an input that was not given. */
export function missingInput(info: TensorInfo): ClipGenError {
  return new ClipGenError(
    'invalid_argument',
    `feeds must hold input "${info.name}" (${info.dtype}${shapeText(info.shape)}); got none`,
  );
}

function mismatch(role: string, info: TensorInfo, given: string): ClipGenError {
  return new ClipGenError(
    'invalid_argument',
    `${role} "${info.name}" must be ${info.dtype}${shapeText(info.shape)}; got ${given}`,
  );
}
