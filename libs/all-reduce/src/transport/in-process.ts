import { ClipGenError } from '@clip-gen/errors';
import type { Failure } from '../failure.ts';
import { mismatch } from './mismatch.ts';
import type { Frame, Transport } from './transport.ts';

interface Lane {
  readonly sends: Frame[];
  readonly receives: Frame[];
}

/**
 * Ranks in one thread: a frame is copied from the sender's memory into the receiver's as soon as both are there.
 *
 * @param report is told when two ranks' calls do not fit; rank is the sender's
 */
export function inProcessTransports(worldSize: number, report: (failure: Failure) => void): Transport[] {
  const lanes = new Map<string, Lane>();
  const laneOf = (from: number, to: number, channel: number): Lane => {
    const key = `${from} ${to} ${channel}`;
    let lane = lanes.get(key);
    if (!lane) lanes.set(key, (lane = { sends: [], receives: [] }));
    return lane;
  };
  const failed: (Error | undefined)[] = [];
  const bytesSent = new Array<number>(worldSize).fill(0);

  // Who is told may post the next frame: told by whoever is telling already, in the order in which frames ended.
  const due: Frame[] = [];
  let isTelling = false;
  const tell = (...frames: Frame[]): void => {
    due.push(...frames);
    if (isTelling) return;
    isTelling = true;
    for (let next = due.shift(); next; next = due.shift()) next.done();
    isTelling = false;
  };

  const match = (from: number, to: number, { sends, receives }: Lane): void => {
    while (sends[0] && receives[0]) {
      const [send, receive] = [sends[0], receives[0]];
      const problem = mismatch(from, to, send.signature, send.bytes.length, receive);
      if (problem) return report(problem);
      sends.shift();
      receives.shift();
      receive.bytes.set(send.bytes);
      tell(send, receive);
    }
  };

  const post = (rank: number, from: number, to: number, channel: number, frame: Frame): void => {
    if (failed[rank]) return frame.done(failed[rank]);
    const lane = laneOf(from, to, channel);
    (rank === from ? lane.sends : lane.receives).push(frame);
    match(from, to, lane);
  };

  const fail = (rank: number, error: Error): void => {
    if (failed[rank]) return;
    failed[rank] = error;
    for (const [key, lane] of lanes) {
      const [from, to] = key.split(' ').map(Number);
      if (from === rank) for (const frame of lane.sends.splice(0)) frame.done(error);
      if (to === rank) for (const frame of lane.receives.splice(0)) frame.done(error);
    }
  };

  return Array.from({ length: worldSize }, (_, rank) => ({
    send: (to, channel, frame) => {
      bytesSent[rank]! += frame.bytes.length;
      post(rank, rank, to, channel, frame);
    },
    receive: (from, channel, frame) => post(rank, from, rank, channel, frame),
    get bytesSent() {
      return bytesSent[rank]!;
    },
    fail: (error) => fail(rank, error),
    close: () => {
      fail(rank, new ClipGenError('cancelled', `rank ${rank} has closed its group`));
      return Promise.resolve();
    },
  }));
}
