import type { WireFormat } from '../kernel/kernels.ts';
import type { Exchange } from './exchange.ts';
import type { Flow } from './flow.ts';
import { rootedTree, sendDown, sendFromRoot } from './tree.ts';

/**
 * `count` float32 at `address` of `root` to everybody, down a binary tree, frame after frame. A rank sends up to 2·S.
 * With a 16-bit format the root's own elements are rounded as the others' are.
 */
export function* broadcast(exchange: Exchange, address: number, count: number, root: number, format: WireFormat): Flow {
  const node = rootedTree(exchange.size, root, exchange.me);
  const slice = { start: 0, count };
  if (node.parent === undefined) sendFromRoot(exchange, node, 0, address, slice, { format });
  else yield* sendDown(exchange, node, 0, address, slice, { format });
}
