import { wireBytes } from '../kernel/kernels.ts';
import type { Flow } from './flow.ts';
import { frames, type Arithmetic, type Exchange, type Slice } from './exchange.ts';

/**
 * The ring: each rank sends to its right and receives from its left. In n − 1 steps of reducing a slice travels round and
 * gathers every rank's part, in n − 1 steps of gathering the finished slices travel round. Frames of a slice follow one
 * another, so that both directions of the link are busy throughout.
 *
 * Bytes sent by a rank: S·(n − 1)/n for each half, S = bytes of all slices on the wire. Order of the sum: slice i starts at
 * rank i + 1 and is finished at rank i.
 *
 * @param address of float32; slice i of them is what `parts[i]` says, one for each rank
 * @param reduce, gather which halves to do, both by default: `reduce` leaves the own slice finished, `gather` expects it so
 * @param channel rings of different channels may go on at the same time
 */
export function* ring(
  exchange: Exchange,
  address: number,
  parts: readonly Slice[],
  arithmetic: Arithmetic,
  {
    reduce = true,
    gather = true,
    channel = 0,
  }: { readonly reduce?: boolean; readonly gather?: boolean; readonly channel?: 0 | 1 } = {},
): Flow {
  const { size, me, memory } = exchange;
  const { format } = arithmetic;
  const { kernels } = memory;
  const [left, right] = [(me + size - 1) % size, (me + 1) % size];
  const framesOf = (slice: number): Slice[] => frames(parts[(slice + 2 * size) % size]!, format);
  const place = ({ start }: Slice): number => address + start * 4;
  const wirePlace = (frame: Slice): number =>
    format === 'float32' ? place(frame) : memory.encoded(channel) + frame.start * wireBytes(format);
  const bytesOf = ({ count }: Slice): number => count * wireBytes(format);
  const forward = (frame: Slice): void => exchange.send(right, channel, wirePlace(frame), bytesOf(frame));
  const encode = (frame: Slice): void => {
    if (format !== 'float32') kernels.encode(wirePlace(frame), format, place(frame), frame.count);
  };
  const decode = (frame: Slice): void => {
    if (format !== 'float32') kernels.decode(place(frame), format, wirePlace(frame), frame.count);
  };

  if (reduce) {
    for (const frame of framesOf(me - 1)) {
      encode(frame);
      forward(frame);
    }
    const buffer = memory.receiveBuffer(channel);
    for (let step = 0; step < size - 1; step++) {
      const last = step === size - 2;
      for (const frame of framesOf(me - 2 - step)) {
        yield exchange.receipt(left, channel, buffer, bytesOf(frame));
        kernels.accumulate(arithmetic.combine, place(frame), format, buffer, frame.count);
        if (last) kernels.scale(place(frame), arithmetic.factor, frame.count);
        if (last && !gather) continue;
        encode(frame);
        if (last) decode(frame); // the owner keeps what the others will get
        forward(frame);
      }
    }
  } else {
    for (const frame of framesOf(me)) {
      encode(frame);
      decode(frame);
      forward(frame);
    }
  }
  if (gather) {
    for (let step = 0; step < size - 1; step++) {
      for (const frame of framesOf(me - 1 - step)) {
        yield exchange.receipt(left, channel, wirePlace(frame), bytesOf(frame));
        if (step < size - 2) forward(frame);
        decode(frame);
      }
    }
  }
}
