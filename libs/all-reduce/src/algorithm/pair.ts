import type { Combine } from '../kernel/kernels.ts';
import type { Exchange } from './exchange.ts';
import type { Flow } from './flow.ts';

/**
 * Two ranks: each sends everything to the other, in one frame, and both sum everything. As many bytes as a ring's, and one
 * hop where a ring has two: a rank waits once for the other instead of twice.
 *
 * Bytes sent by a rank: S. Order of the sum: the first rank's part, then the second's, on both.
 *
 * @param address of float32, which are sent as they are
 * @param count at most what a frame holds
 */
export function* pair(
  exchange: Exchange,
  address: number,
  count: number,
  { combine, factor }: { readonly combine: Combine; readonly factor: number },
  channel: 0 | 1 = 0,
): Flow {
  const { me, memory } = exchange;
  const received = memory.receiveBuffer(channel);
  exchange.send(1 - me, channel, address, count * 4);
  yield exchange.receipt(1 - me, channel, received, count * 4);
  yield 'sent'; // what was sent is overwritten now
  const [first, second] = me === 0 ? [address, received] : [received, address];
  memory.kernels.combine(combine, address, first, second, count);
  memory.kernels.scale(address, factor, count);
}
