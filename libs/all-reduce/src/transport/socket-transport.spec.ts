import { readFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { connect, type Socket } from 'node:net';
import { expect, it, vi } from 'vitest';
import { checkAllReduce, checkOthers } from '../closed-forms.ts';
import { socketGroups } from '../socket-ranks.ts';
import { REPLY_BYTES } from './handshake.ts';
import { Kernels } from '../kernel/kernels.ts';
import { SocketReader } from './socket-reader.ts';
import type { SocketTransport } from './socket-transport.ts';
import type { Frame } from './transport.ts';

const pem = (name: string): string => readFileSync(new URL(`../../goldens/${name}.pem`, import.meta.url), 'utf8');
const tls = { key: pem('test-key'), cert: pem('test-cert'), ca: pem('test-cert') };

it.each([
  ['tcp', 2],
  ['tcp', 3],
  ['unix', 4],
  ['unix', 5],
  ['tcp', 8],
] as const)('reduces over %s sockets between %i ranks', async (kind, ranks) => {
  const hosts = Array.from({ length: ranks }, (_, rank) => `host ${rank >> 1}`);
  const { groups } = await socketGroups(ranks, kind, { hosts, stageBytes: 65536 });
  for (const count of [0, 1, 7, 1000]) {
    for (const algorithm of ['auto', 'ring', 'tree', 'hierarchical'] as const) {
      for (const wire of ['float32', 'bfloat16', 'float16'] as const) {
        await checkAllReduce(groups, count, { algorithm, wire });
      }
    }
    await checkOthers(groups, count);
  }
  await Promise.all(groups.map((group) => group.close()));
});

it.each([
  ['tcp', {}],
  ['unix', {}],
  ['tcp', { direct: false }],
  ['tcp', { tls }],
] as const)('reduces many elements over %s %o', async (kind, options) => {
  const { groups, transports } = await socketGroups(3, kind, { stageBytes: 2 ** 20, ...options });
  const count = 1_000_003;
  await checkAllReduce(groups, count, { algorithm: 'ring' });
  // 2·S·(n − 1)/n and at most 1 % for headers.
  const payload = (2 * count * 4 * 2) / 3;
  for (const { bytesSent } of transports) {
    expect(bytesSent).toBeGreaterThan(payload * 0.999);
    expect(bytesSent).toBeLessThan(payload * 1.01);
  }
  await checkAllReduce(groups, count, { algorithm: 'tree', wire: 'float16' }, true);
  await Promise.all(groups.map((group) => group.close()));
});

it('gives right results after a long loop', async () => {
  const { groups } = await socketGroups(2, 'tcp');
  const tensors = groups.map(() => new Float32Array(20_000).fill(1));
  for (let i = 0; i < 200; i++) {
    await Promise.all(groups.map((group, rank) => group.allReduce(tensors[rank]!, { op: 'mean' })));
  }
  await checkAllReduce(groups, 20_000, {});
  for (const tensor of tensors) expect(tensor.every((x) => x === 1)).toBe(true);
  await Promise.all(groups.map((group) => group.close()));
});

it('tells both ranks of different sizes', async () => {
  const { groups } = await socketGroups(2, 'tcp');
  const calls = [groups[0]!.allReduce(new Float32Array(8)), groups[1]!.allReduce(new Float32Array(9))];
  for (const call of calls) {
    await expect(call).rejects.toMatchObject({
      code: 'invalid_argument',
      message: expect.stringMatching(/of 8 elements in 1 tensor.* of 9 elements in 1 tensor|of 9 .* of 8 /),
    });
  }
  await Promise.all(groups.map((group) => group.close()));
});

it.each([true, false])('names the rank whose connections break, and gives no result; direct: %s', async (direct) => {
  const { groups, transports } = await socketGroups(3, 'unix', { direct });
  await checkAllReduce(groups, 100, {});
  const calls = [0, 1].map((rank) => groups[rank]!.allReduce(new Float32Array(100)));
  await transports[2]!.close();
  for (const call of calls)
    await expect(call).rejects.toMatchObject({
      code: 'unavailable',
      message: expect.stringContaining('connection to rank 2'),
    });
});

/** A frame over some bytes, and what it was told. */
function frameOf(bytes: Uint8Array): { readonly frame: Frame; readonly told: string[] } {
  const told: string[] = [];
  const frame = {
    signature: new Uint8Array(32),
    bytes,
    done: (error?: Error) => void told.push(error?.message ?? 'ok'),
  };
  return { frame, told };
}

/** Two transports that have exchanged a frame. */
async function connectedPair(direct: boolean): Promise<readonly [SocketTransport, SocketTransport]> {
  const { transports } = await socketGroups(2, 'tcp', { direct });
  const [from, to] = transports as [SocketTransport, SocketTransport];
  const [sent, received] = [frameOf(Uint8Array.of(1, 2, 3)), frameOf(new Uint8Array(3))];
  to.receive(0, 0, received.frame);
  from.send(1, 0, sent.frame);
  await vi.waitFor(() => expect(received.told).toEqual(['ok']));
  expect([...received.frame.bytes]).toEqual([1, 2, 3]);
  return [from, to];
}

it.each([true, false])('leaves the bytes alone once it has failed; direct: %s', async (direct) => {
  const [from, to] = await connectedPair(direct);
  const size = 32 * 2 ** 20;
  const [sent, received] = [frameOf(new Uint8Array(size).fill(7)), frameOf(new Uint8Array(size))];
  to.receive(0, 0, received.frame);
  from.send(1, 0, sent.frame);
  await vi.waitFor(() => expect(received.frame.bytes[0]).toBe(7), { interval: 0 });
  to.fail(new Error('it is over'));
  received.frame.bytes.fill(0);
  await new Promise((resolve) => setTimeout(resolve, 300));
  expect(received.told).toEqual(['it is over']);
  expect(received.frame.bytes.indexOf(7)).toBe(-1);
  await Promise.all([from.close(), to.close()]);
});

it.each([true, false])('sends nothing of what is its owner’s again; direct: %s', async (direct) => {
  const [from, to] = await connectedPair(direct);
  const [count, size] = [2000, 2 ** 14];
  const sent = Array.from({ length: count }, () => frameOf(new Uint8Array(size).fill(7)));
  for (const { frame } of sent) from.send(1, 0, frame);
  await new Promise((resolve) => setTimeout(resolve, 100));
  from.fail(new Error('it is over'));
  for (const { frame, told } of sent) if (told[0] !== 'ok') frame.bytes.fill(66);
  expect(sent.at(-1)!.told).toEqual(['it is over']);
  const received = Array.from({ length: count }, () => frameOf(new Uint8Array(size)));
  for (const { frame } of received) to.receive(0, 0, frame);
  await new Promise((resolve) => setTimeout(resolve, 300));
  expect(received[0]!.told).toEqual(['ok']);
  expect(received.at(-1)!.told).not.toEqual(['ok']);
  for (const { frame, told } of received) {
    if (told[0] === 'ok') expect(frame.bytes.every((byte) => byte === 7)).toBe(true);
  }
  await Promise.all([from.close(), to.close()]);
});

it('closes its own files only, also when it is closed twice', async () => {
  const [from, to] = await connectedPair(true);
  await Promise.all([from.close(), to.close()]);
  const files = await Promise.all(Array.from({ length: 8 }, () => open('/dev/null')));
  await Promise.all([from.close(), to.close()]);
  for (const file of files) await file.close(); // throws where somebody else has closed it
});

it('tells all ranks when a call breaks down on one of them', async () => {
  const { groups } = await socketGroups(2, 'tcp');
  const combine = vi.spyOn(Kernels.prototype, 'combine').mockImplementationOnce(() => {
    throw new Error('out of order');
  });
  const calls = groups.map((group) => group.allReduce(new Float32Array(100_000), { algorithm: 'ring' }));
  for (const [rank, result] of (await Promise.allSettled(calls)).entries()) {
    expect(result.status, `rank ${rank}`).toBe('rejected');
    const message = expect.stringMatching(/^rank \d has broken down in call 0: out of order$/);
    expect(groups[rank]!.failure).toMatchObject({ code: 'internal', message });
  }
  combine.mockRestore();
  await Promise.all(groups.map((group) => group.close()));
});

it('takes no harm from strangers', async () => {
  const { groups, addresses } = await socketGroups(2, 'tcp');
  const { port } = addresses[0] as { port: number };
  const silent = [Buffer.alloc(0), Buffer.from('GET / HTTP/1.1\r\nHost: x\r\n\r\n')].map((bytes) =>
    stranger(port, bytes),
  );
  const refused = [
    Buffer.alloc(REPLY_BYTES, 0xff),
    Buffer.concat([Buffer.from('clipgenR'), Buffer.alloc(REPLY_BYTES - 8, 1)]), // looks like a rank
    Buffer.alloc(100_000, 7),
  ];
  for (const bytes of refused) await stranger(port, bytes);
  await checkAllReduce(groups, 1000, {});
  await Promise.all(groups.map((group) => group.close()));
  await Promise.all(silent); // who says too little is dropped at the latest now
});

/** Resolves when the connection has been ended by the other side. */
async function stranger(port: number, bytes: Buffer): Promise<void> {
  const socket: Socket = connect({ port, host: '127.0.0.1' });
  socket.on('error', () => undefined).resume();
  socket.write(bytes);
  await new Promise((resolve) => socket.on('close', resolve));
}

it('reads targets in any split of the stream, and waits where there is none', async () => {
  const stream = Buffer.from(Array.from({ length: 997 }, (_, i) => i % 251));
  for (const step of [1, 3, 64, 997]) {
    const targets = [5, 0, 90, 300, 0, 600, 2].map((length) => Buffer.alloc(length));
    let granted = 0;
    let next = 0;
    const reader = new SocketReader(() => (next < granted ? targets[next++] : undefined));
    for (let at = 0; at < stream.length; at += step) {
      let read = reader.feed(stream.subarray(at, at + step));
      while (!read) {
        granted++;
        read = reader.resume();
      }
    }
    granted = targets.length;
    reader.resume();
    expect(Buffer.compare(Buffer.concat(targets), stream), `${step} bytes at a time`).toBe(0);
  }
});
