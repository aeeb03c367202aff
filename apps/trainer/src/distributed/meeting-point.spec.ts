import { connect, createServer } from 'node:net';
import { afterEach, expect, it } from 'vitest';
import { arrive, TrainingOver } from './arrive.ts';
import { freePort } from './free-port.ts';
import { MeetingPoint } from './meeting-point.ts';

const HOST = '127.0.0.1';
const TOKEN = 'only for tests';
const WHO = { rank: 1, worldSize: 3, epoch: 4, isNew: false };

const open: MeetingPoint[] = [];
afterEach(async () => {
  await Promise.all(open.splice(0).map((point) => point.close()));
});

async function newPoint(port = 0): Promise<MeetingPoint> {
  const point = await MeetingPoint.open(HOST, port, TOKEN, 3);
  open.push(point);
  return point;
}

const INVITATION = { epoch: 5, members: [0, 1, 2], port: 1234, introduces: false };

it('invites those who came, also those who came before it was there', async () => {
  const port = await freePort();
  const arriving = [1, 2].map((rank) => arrive(HOST, port, TOKEN, { ...WHO, rank }, 10_000));
  const point = await newPoint(port);
  expect(await point.gather([1, 2], 10_000)).toBe(true);
  expect(point.arrivals.map(({ rank, epoch }) => [rank, epoch])).toEqual([
    [1, 4],
    [2, 4],
  ]);
  point.invite(INVITATION);
  expect(await Promise.all(arriving)).toEqual([INVITATION, INVITATION]);
  expect(point.arrivals).toEqual([]);
});

it('waits so long and no longer, and forgets whoever leaves', async () => {
  const point = await newPoint();
  const waiting = arrive(HOST, point.port, TOKEN, WHO, 10_000);
  expect(await point.gather([1, 2], 200)).toBe(false);
  expect(point.arrivals).toHaveLength(1);
  const silent = connect({ host: HOST, port: point.port });
  await new Promise((resolve) => silent.once('data', resolve));
  silent.destroy();
  expect(point.arrivals).toHaveLength(1);
  await Promise.all([point.close(), expect(waiting).rejects.toThrow(TrainingOver)]);
});

it.each([
  [{ ...WHO }, 'another secret', 'rank 1 has another token than rank 0'],
  [{ ...WHO, worldSize: 4 }, TOKEN, 'rank 1 was started as one of 4 processes, rank 0 as one of 3'],
  [{ ...WHO, rank: 3 }, TOKEN, 'rank must be in [1, 3); got 3'],
])('refuses %j with %s', async (who, token, message) => {
  const point = await newPoint();
  await expect(arrive(HOST, point.port, token, who, 10_000)).rejects.toMatchObject({
    code: 'failed_precondition',
    message,
  });
  expect(point.arrivals).toEqual([]);
});

it.each(['no JSON', '{"arrival":{}}', JSON.stringify({ nonce: 'a' }), 'x'.repeat(20_000)])(
  'cuts whoever says %.30s',
  async (text) => {
    const point = await newPoint();
    const socket = connect({ host: HOST, port: point.port });
    const closed = new Promise((resolve) => socket.once('close', resolve));
    socket.on('error', () => undefined).resume();
    socket.write(`${text}\n`);
    await closed;
    expect(point.arrivals).toEqual([]);
  },
);

it('believes no invitation without the token', async () => {
  const server = createServer((socket) => {
    socket.on('error', () => undefined);
    socket.write(`${JSON.stringify({ nonce: '0'.repeat(64) })}\n`);
    socket.once('data', () => {
      socket.write(`${JSON.stringify({ invitation: INVITATION, proof: '0'.repeat(64) })}\n`);
      socket.end(`${JSON.stringify({ over: true, proof: '0'.repeat(64) })}\n`);
    });
  }).listen(0, HOST);
  await new Promise((resolve) => server.once('listening', resolve));
  const address = server.address();
  const port = typeof address === 'object' && address ? address.port : 0;
  const outcome = await Promise.race([
    arrive(HOST, port, TOKEN, WHO, 1000).then(
      () => 'invited',
      () => 'refused',
    ),
    new Promise((resolve) => setTimeout(() => resolve('waits'), 1500)),
  ]);
  expect(outcome).toBe('waits');
  await new Promise((resolve) => server.close(resolve));
});

it('gives up when rank 0 is absent for too long', async () => {
  await expect(arrive(HOST, await freePort(), TOKEN, WHO, 500)).rejects.toMatchObject({
    code: 'failed_precondition',
    message: expect.stringMatching(/^rank 0 did not answer at 127\.0\.0\.1:\d+ for 0\.5 s: it is gone/),
  });
});
