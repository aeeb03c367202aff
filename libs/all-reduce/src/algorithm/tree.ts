import { wireBytes } from '../kernel/kernels.ts';
import { frames, slices, type Arithmetic, type Exchange, type Slice } from './exchange.ts';
import type { Flow } from './flow.ts';

/** A place's neighbours in a tree. */
export interface TreeNode {
  /** undefined at the root. */
  readonly parent: number | undefined;
  /** At most two, in the order of summing. */
  readonly children: readonly number[];
}

/**
 * The in-order binary tree over places 0 … size − 1: numbered from 1, a place whose lowest set bit is b is as high as b,
 * so that every even place is a leaf. `shift` moves all places on: with 1, those that were inner are leaves now
 * (Sanders, Speck, Träff: two-tree algorithms for full bandwidth broadcast, reduction and scan, 2009).
 */
export function inOrderTree(size: number, shift: number, me: number): TreeNode {
  const parentOf = (position: number): number | undefined => {
    const number = position + 1;
    const lowest = number & -number;
    const above = (number ^ lowest) | (lowest << 1);
    const parent = above <= size ? above : number ^ lowest;
    return parent === 0 ? undefined : parent - 1;
  };
  const placeOf = (position: number): number => (position + size - shift) % size;
  const own = (me + shift) % size;
  const parent = parentOf(own);
  return {
    parent: parent === undefined ? undefined : placeOf(parent),
    children: Array.from({ length: size }, (_, position) => position)
      .filter((position) => parentOf(position) === own)
      .map(placeOf),
  };
}

/** The binary tree with `root` on top, places in rows: few levels, every place reached early. */
export function rootedTree(size: number, root: number, me: number): TreeNode {
  const position = (me + size - root) % size;
  const placeOf = (at: number): number => (at + root) % size;
  return {
    parent: position === 0 ? undefined : placeOf((position - 1) >> 1),
    children: [2 * position + 1, 2 * position + 2].filter((at) => at < size).map(placeOf),
  };
}

/**
 * The double binary tree: each half of the elements is reduced up one tree and sent down it again; a rank that is an inner
 * node of one tree is a leaf of the other, so that all links carry about the same. 2·log₂ n hops instead of the ring's
 * 2·(n − 1); bytes sent by a rank: up to 2·S.
 *
 * Order of the sum: own part, then the children's. The flows go on side by side.
 */
export function doubleTree(exchange: Exchange, address: number, count: number, arithmetic: Arithmetic): Flow[] {
  const [first, second] = slices(count, 2) as [Slice, Slice];
  const { size, me } = exchange;
  const trees = [
    { slice: first, node: inOrderTree(size, 0, me), channel: 0 },
    { slice: second, node: inOrderTree(size, 1, me), channel: 2 },
  ];
  return trees.flatMap(({ slice, node, channel }) => [
    reduceUp(exchange, node, channel, address, slice, arithmetic, true),
    sendDown(exchange, node, channel + 1, address, slice, arithmetic),
  ]);
}

/** Reduces to the tree's root, which alone has the result then. Uses channels `channel` and, with `down`, the next. */
export function* reduceUp(
  exchange: Exchange,
  node: TreeNode,
  channel: number,
  address: number,
  slice: Slice,
  { combine, format, factor }: Arithmetic,
  down = false,
): Flow {
  const { memory } = exchange;
  const buffer = memory.receiveBuffer(channel);
  for (const frame of frames(slice, format)) {
    const place = address + frame.start * 4;
    const bytes = frame.count * wireBytes(format);
    for (const child of node.children) {
      yield exchange.receipt(child, channel, buffer, bytes);
      memory.kernels.accumulate(combine, place, format, buffer, frame.count);
    }
    if (node.parent !== undefined) {
      exchange.send(node.parent, channel, encode(exchange, address, frame, format), bytes);
      continue;
    }
    memory.kernels.scale(place, factor, frame.count);
    if (!down) continue;
    const encoded = encode(exchange, address, frame, format);
    if (format !== 'float32') memory.kernels.decode(place, format, encoded, frame.count);
    for (const child of node.children) exchange.send(child, channel + 1, encoded, bytes);
  }
}

/** Passes down what comes from the parent; the root does nothing. */
export function* sendDown(
  exchange: Exchange,
  node: TreeNode,
  channel: number,
  address: number,
  slice: Slice,
  { format }: Pick<Arithmetic, 'format'>,
): Flow {
  if (node.parent === undefined) return;
  for (const frame of frames(slice, format)) {
    const place = address + frame.start * 4;
    const bytes = frame.count * wireBytes(format);
    const at = wirePlace(exchange, address, frame, format);
    yield exchange.receipt(node.parent, channel, at, bytes);
    for (const child of node.children) exchange.send(child, channel, at, bytes);
    if (format !== 'float32') exchange.memory.kernels.decode(place, format, at, frame.count);
  }
}

/** The root's part of a broadcast down `node`'s tree; the others call `sendDown`. */
export function sendFromRoot(
  exchange: Exchange,
  node: TreeNode,
  channel: number,
  address: number,
  slice: Slice,
  { format }: Pick<Arithmetic, 'format'>,
): void {
  for (const frame of frames(slice, format)) {
    const encoded = encode(exchange, address, frame, format);
    if (format !== 'float32') {
      exchange.memory.kernels.decode(address + frame.start * 4, format, encoded, frame.count);
    }
    for (const child of node.children) exchange.send(child, channel, encoded, frame.count * wireBytes(format));
  }
}

function wirePlace({ memory }: Exchange, address: number, frame: Slice, format: Arithmetic['format']): number {
  return format === 'float32' ? address + frame.start * 4 : memory.encoded(0) + frame.start * wireBytes(format);
}

/** Where the frame lies in its wire format, which float32 already is. */
function encode(exchange: Exchange, address: number, frame: Slice, format: Arithmetic['format']): number {
  const at = wirePlace(exchange, address, frame, format);
  if (format !== 'float32') {
    exchange.memory.kernels.encode(at, format, address + frame.start * 4, frame.count);
  }
  return at;
}
