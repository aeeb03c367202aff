import { connect } from 'node:net';
import { afterEach, expect, it } from 'vitest';
import { signatureOf, type Call } from '../call.ts';
import type { Failure } from '../failure.ts';
import { Membership, type MembershipOptions } from './membership.ts';
import { Store, type StoreOptions } from './store.ts';

const TIMES = { joinTimeoutMs: 20_000, heartbeatTimeoutMs: 15_000, heartbeatMs: 100 };
/** What the ranks say they do; by rank. */
let signatures: Uint8Array[] = [];
const OPEN: (() => Promise<void>)[] = [];

afterEach(async () => {
  signatures = [];
  for (const close of OPEN.splice(0).reverse()) await close();
});

async function startStore(
  worldSize: number,
  options: Partial<StoreOptions> = {},
): Promise<{ port: number; store: Store }> {
  const started = await Store.listen({
    ...{ host: '127.0.0.1', port: 0, token: 'the right token', worldSize, epoch: 0, settings: '', tls: undefined },
    ...TIMES,
    ...options,
  });
  OPEN.push(() => started.store.close());
  return started;
}

function member(port: number, rank: number, worldSize: number, options: Partial<MembershipOptions> = {}) {
  let fail: (failure: Failure) => void = () => undefined;
  const failure = new Promise<Failure>((resolve) => (fail = resolve));
  const left: number[] = [];
  const membership = new Membership(
    {
      ...{ rendezvous: `127.0.0.1:${port}`, token: 'the right token', rank, worldSize, epoch: 0, settings: '' },
      ...{ tls: undefined, ...TIMES, ...options },
    },
    {
      failed: fail,
      left: (who) => left.push(who),
      progress: () => ({ begun: rank === 1 ? 3 : 5, ended: 3, signature: signatures[rank] ?? new Uint8Array(0) }),
    },
  );
  OPEN.push(() => membership.close());
  const address = { hostId: `host of ${rank}`, host: '', port: 1000 + rank, unixPath: '', memoryPath: '' };
  const joined = membership.join(address);
  joined.catch(() => undefined); // looked at later
  return { membership, failure, left, joined };
}

it('introduces the ranks to each other, starts them together and tells who leaves', async () => {
  const { port } = await startStore(3);
  const ranks = [0, 1, 2].map((rank) => member(port, rank, 3));
  const joined = await Promise.all(ranks.map((rank) => rank.joined));
  for (const { addresses, key } of joined) {
    expect(addresses.map((address) => address.port)).toEqual([1000, 1001, 1002]);
    expect(addresses.map((address) => address.host)).toEqual(['127.0.0.1', '127.0.0.1', '127.0.0.1']);
    expect(key).toEqual(joined[0]!.key);
  }
  const hosts = await Promise.all(ranks.map(({ membership }, rank) => membership.ready(rank !== 1)));
  expect(hosts[2]).toEqual(['host of 0', 'host of 2']);
  await ranks[2]!.membership.close();
  await expect.poll(() => [ranks[0]!.left, ranks[1]!.left]).toEqual([[2], [2]]);
});

it.each([
  [
    'protocol version',
    { protocol: 999 },
    'rank 1 has protocol version 999, rank 0 has 1; all ranks must have the same',
  ],
  ['epoch', { epoch: 4 }, 'rank 1 has epoch 4, rank 0 has 0'],
  ['world size', { worldSize: 5 }, 'rank 1 has world size 5, rank 0 has 3'],
  ['settings', { settings: 'x' }, 'rank 1 has settings x'],
])('refuses another %s, on all ranks', async (_, options, words) => {
  const { port } = await startStore(3);
  const first = member(port, 0, 3);
  const odd = member(port, 1, 3, options);
  const error = { code: 'failed_precondition', message: expect.stringContaining(words) };
  await expect(odd.joined).rejects.toMatchObject(error);
  await expect(first.joined).rejects.toMatchObject(error);
  await expect(member(port, 2, 3).joined).rejects.toMatchObject(error);
});

it('refuses another token at once, and says so to all who wait in vain', async () => {
  const { port } = await startStore(2, { joinTimeoutMs: 3000 });
  const first = member(port, 0, 2);
  await expect(member(port, 1, 2, { token: 'a wrong token' }).joined).rejects.toMatchObject({
    code: 'failed_precondition',
    message: 'rank 1 has another token than rank 0',
  });
  await expect(first.joined).rejects.toMatchObject({
    code: 'failed_precondition',
    message: 'rank 1 did not join within 3000 ms (rank 1 has another token than rank 0)',
  });
});

it('lets the right rank in after a wrong one, and one rank once', async () => {
  const { port } = await startStore(2);
  const first = member(port, 0, 2);
  await expect(member(port, 1, 2, { token: 'a wrong token' }).joined).rejects.toThrow('another token');
  await expect(member(port, 0, 2).joined).rejects.toThrow('rank 0 has joined already');
  await expect(member(port, 2, 2).joined).rejects.toThrow('rank must be in [0, 2); got 2');
  await Promise.all([first.joined, member(port, 1, 2).joined]);
});

it('names the ranks that do not come', async () => {
  const { port } = await startStore(4, { joinTimeoutMs: 1500 });
  const one = member(port, 1, 4);
  await expect(one.joined).rejects.toMatchObject({
    code: 'deadline_exceeded',
    message: 'ranks 0, 2, 3 did not join within 1500 ms',
  });
});

it('says that nobody is at the address', async () => {
  await expect(member(1, 1, 2, { joinTimeoutMs: 300 }).joined).rejects.toThrow(
    'rank 0 did not answer at 127.0.0.1:1 within 300 ms',
  );
});

it('gives all ranks one verdict: the first report', async () => {
  const { port } = await startStore(3);
  const ranks = [0, 1, 2].map((rank) => member(port, rank, 3));
  await Promise.all(ranks.map((rank) => rank.joined));
  ranks[1]!.membership.report({ code: 'unavailable', rank: 2, message: 'rank 1 has lost its connection to rank 2' });
  ranks[0]!.membership.report({ code: 'unavailable', rank: 1, message: 'rank 0 has lost its connection to rank 1' });
  const verdicts = await Promise.all(ranks.map(({ failure }) => failure));
  expect(new Set(verdicts.map(({ message }) => message)).size).toBe(1);
});

it('blames a stall on the rank that is behind', async () => {
  const { port } = await startStore(3);
  const ranks = [0, 1, 2].map((rank) => member(port, rank, 3));
  await Promise.all(ranks.map((rank) => rank.joined));
  await new Promise((resolve) => setTimeout(resolve, 1000)); // some heartbeats: rank 1 has begun 3 calls, the others 5
  ranks[0]!.membership.report(
    { code: 'deadline_exceeded', rank: 2, message: 'rank 0 has waited for rank 2 in call 4 for 500 ms' },
    true,
  );
  for (const { failure } of ranks) {
    expect(await failure).toEqual({
      code: 'deadline_exceeded',
      rank: 1,
      message: 'rank 1 has made 3 calls; rank 0 has waited for rank 2 in call 4 for 500 ms',
    });
  }
});

it('finds ranks that are in different calls', async () => {
  const { port } = await startStore(3);
  const call: Call = {
    sequence: 4,
    collective: 'barrier',
    reduction: 'sum',
    wire: 'float32',
    algorithm: 'auto',
    root: 0,
    counts: [],
  };
  signatures = [signatureOf(call), new Uint8Array(0), signatureOf({ ...call, collective: 'all-reduce', counts: [3] })];
  const ranks = [0, 1, 2].map((rank) => member(port, rank, 3));
  for (const { failure } of ranks) {
    const { code, message } = await failure;
    expect(code).toBe('invalid_argument');
    expect(message).toMatch(
      /rank \d makes call 4, (barrier|all-reduce.*); rank \d makes call 4, (barrier|all-reduce.*)/,
    );
  }
});

it('notices the store going away', async () => {
  const { port, store } = await startStore(2, { heartbeatTimeoutMs: 1000 });
  const ranks = [0, 1].map((rank) => member(port, rank, 2, { heartbeatTimeoutMs: 1000 }));
  await Promise.all(ranks.map((rank) => rank.joined));
  void store.close(); // waits for ranks that do not leave, then cuts them off
  for (const { failure } of ranks) expect(await failure).toMatchObject({ code: 'unavailable', rank: 0 });
});

it('takes no harm from strangers', async () => {
  const { port } = await startStore(2);
  for (const bytes of [Buffer.from('GET / HTTP/1.1\r\n\r\n'), Buffer.alloc(10_000, 0xff)]) {
    const socket = connect(port, '127.0.0.1').on('error', () => undefined);
    socket.write(bytes);
    await new Promise((resolve) => socket.on('close', resolve).resume());
  }
  await Promise.all([0, 1].map((rank) => member(port, rank, 2).joined));
});
