import { expect, it } from 'vitest';
import { inProcessTransports } from './in-process.ts';
import type { Frame, Transport } from './transport.ts';

const COUNT = 20_000;

it('tells of frames in their order, without a deeper stack where one leads to the next', () => {
  const [from, to] = inProcessTransports(2, (failure) => expect.fail(failure.message)) as [Transport, Transport];
  const told: string[] = [];
  const frame = (i: number, name: string, next: () => void): Frame => ({
    signature: new Uint8Array(32),
    bytes: new Uint8Array(4),
    done: () => {
      told.push(`${name} ${i}`);
      if (i + 1 < COUNT) next();
    },
  });
  const send = (i: number): void =>
    from.send(
      1,
      0,
      frame(i, 'sent', () => send(i + 1)),
    );
  const receive = (i: number): void =>
    to.receive(
      0,
      0,
      frame(i, 'received', () => receive(i + 1)),
    );
  receive(0);
  send(0);
  expect(told).toHaveLength(2 * COUNT);
  expect(told.filter((line) => line.startsWith('received'))).toEqual(
    Array.from({ length: COUNT }, (_, i) => `received ${i}`),
  );
  expect(told.filter((line) => line.startsWith('sent'))).toEqual(Array.from({ length: COUNT }, (_, i) => `sent ${i}`));
  expect([from.bytesSent, to.bytesSent]).toEqual([4 * COUNT, 0]);
});
