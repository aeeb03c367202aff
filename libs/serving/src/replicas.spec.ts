import { ClipEmbeddingDefinition, TransformerSamplerDefinition } from '@clip-gen/contracts';
import { createServer as createTcpServer } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { connect } from './connection.ts';
import { startServer } from './grpc-server.ts';
import { embedding, sampler, testConnection, testServer } from './test-services.ts';

/** A server whose answers say its number. */
const numbered = (number: number) => [
  embedding({ getModel: () => Promise.resolve({ imageSize: number }) }),
  sampler({
    async *sample(_, { signal }) {
      for (let position = 0; position < 20; position++) {
        yield { event: { $case: 'tokens', value: { position, tokens: [number] } } };
        await sleep(10, undefined, { signal });
      }
    },
  }),
];

type Client = ReturnType<typeof connect<typeof ClipEmbeddingDefinition>>['client'];

/** Which server answered each of so many calls. */
async function answers(client: Client, count: number): Promise<number[]> {
  const numbers: number[] = [];
  for (let call = 0; call < count; call++) numbers.push((await client.getModel({})).imageSize);
  return numbers;
}

/** Calls until all of the servers have answered, since connections come up one after the other. */
async function warm(client: Client, servers: readonly number[]): Promise<void> {
  const seen = new Set<number>();
  await expect
    .poll(async () => (await answers(client, 4)).map((number) => seen.add(number)) && seen.size, { timeout: 30_000 })
    .toBe(servers.length);
}

describe('two servers', () => {
  it('take turns', async () => {
    const [first, second] = [await testServer(numbered(1)), await testServer(numbered(2))];
    const { client } = testConnection(ClipEmbeddingDefinition, [first.address, second.address]);
    await warm(client, [1, 2]);
    const counts = await answers(client, 20);
    expect(counts.filter((number) => number === 1)).toHaveLength(10);
  });

  it('lose no call that may be repeated when one dies, and get it back', async () => {
    const [first, second] = [await testServer(numbered(1)), await testServer(numbered(2))];
    const { client, state } = testConnection(ClipEmbeddingDefinition, [first.address, second.address]);
    await warm(client, [1, 2]);
    const load = Array.from({ length: 8 }, () => answers(client, 25));
    await sleep(5);
    await first.close();
    expect((await Promise.all(load)).flat()).toHaveLength(200);
    expect(new Set(await answers(client, 6))).toEqual(new Set([2]));
    expect(state()).toBe('ready');

    await testServer(numbered(3), { address: first.address });
    await warm(client, [2, 3]);
  });

  it('fail no call, not even a stream, when one drains', async () => {
    const [first, second] = [await testServer(numbered(1)), await testServer(numbered(2))];
    const embed = testConnection(ClipEmbeddingDefinition, [first.address, second.address], { retry: { attempts: 1 } });
    const sample = testConnection(TransformerSamplerDefinition, [first.address, second.address]);
    await warm(embed.client, [1, 2]);
    let stop = false;
    const unary = Array.from({ length: 4 }, async () => {
      let calls = 0;
      while (!stop) calls += (await answers(embed.client, 1)).length;
      return calls;
    });
    const streams = Array.from({ length: 10 }, async (_, index) => {
      await sleep(index * 20);
      let tokens = 0;
      for await (const _ of sample.client.sample({}, { retry: false })) tokens++;
      return tokens;
    });
    await sleep(100);
    expect(await first.drain(30_000)).toBe(true);
    expect(await Promise.all(streams)).toEqual(Array<number>(10).fill(20));
    stop = true;
    for (const calls of await Promise.all(unary)) expect(calls).toBeGreaterThan(0);
    expect(new Set(await answers(embed.client, 4))).toEqual(new Set([2]));
  });
});

it('finds everything that a name stands for', async () => {
  const server = await testServer(numbered(1));
  const { client } = testConnection(ClipEmbeddingDefinition, `localhost:${server.port}`);
  expect(await answers(client, 2)).toEqual([1, 1]);
});

it('uses the addresses that exist where others do not', async () => {
  const server = await testServer(numbered(1));
  const addresses = ['no-such-host.invalid:1', '127.0.0.1:1', server.address];
  const { client } = testConnection(ClipEmbeddingDefinition, addresses);
  expect(await answers(client, 4)).toEqual([1, 1, 1, 1]);
});

describe('a server that is away', () => {
  it('is unavailable, by name and with the reason', async () => {
    const { client, state, ready } = testConnection(ClipEmbeddingDefinition, '127.0.0.1:1', {
      name: 'clip-embedding',
      retry: { attempts: 2 },
    });
    await expect(client.getModel({})).rejects.toMatchObject({
      code: 'unavailable',
      message: expect.stringMatching(/^clip-embedding: .*ECONNREFUSED/),
    });
    expect(['failing', 'connecting']).toContain(state());
    expect(await ready(50)).toBe(false);
  });

  it('and whose name does not exist', async () => {
    const { client } = testConnection(ClipEmbeddingDefinition, 'no-such-host.invalid:50052', {
      retry: { attempts: 1 },
    });
    await expect(client.getModel({})).rejects.toMatchObject({
      code: 'unavailable',
      message: expect.stringContaining('no-such-host.invalid'),
    });
  });

  it('is found when it comes', async () => {
    const port = await freePort();
    const { client, ready } = testConnection(ClipEmbeddingDefinition, `127.0.0.1:${port}`, { retry: { attempts: 1 } });
    await expect(client.getModel({})).rejects.toMatchObject({ code: 'unavailable' });
    await testServer(numbered(5), { address: `127.0.0.1:${port}` });
    expect(await ready(20_000)).toBe(true);
    expect(await answers(client, 1)).toEqual([5]);
  });
});

describe('a connection', () => {
  it.each([[[]], [['host']], [['host:99999']], [['a:1,b:2']], [['http://a:1']]])(
    'refuses the addresses %j',
    (addresses) => {
      const options = { name: 'x', addresses, deadlineMs: 1 };
      expect(() => connect(ClipEmbeddingDefinition, options)).toThrow(
        expect.objectContaining({ code: 'invalid_argument' }),
      );
    },
  );

  it('is closed once and for all', async () => {
    const server = await testServer(numbered(1));
    const connection = testConnection(ClipEmbeddingDefinition, server.address);
    expect(await connection.ready(20_000)).toBe(true);
    expect(connection.state()).toBe('ready');
    connection.close();
    connection.close();
    expect(connection.state()).toBe('closed');
    expect(await connection.ready(10)).toBe(false);
    await expect(connection.client.getModel({})).rejects.toMatchObject({ code: 'unavailable' });
  });
});

describe('drain', () => {
  it('lets a running stream end, takes no new call, and closes', async () => {
    const server = await testServer(numbered(1));
    const sample = testConnection(TransformerSamplerDefinition, server.address).client.sample({});
    const stream = sample[Symbol.asyncIterator]();
    await stream.next();
    const drained = server.drain(30_000);
    expect(server.serving).toBe(false);
    const late = testConnection(ClipEmbeddingDefinition, server.address, { retry: { attempts: 1 } });
    await expect(late.client.getModel({})).rejects.toMatchObject({ code: 'unavailable' });
    let count = 1;
    while (!(await stream.next()).done) count++;
    expect(count).toBe(20);
    expect(await drained).toBe(true);
    expect(server.runningCalls).toBe(0);
    // The port is free again.
    const next = await startServer({ name: 'next', address: server.address, services: numbered(2) });
    await next.close();
  });

  it('cuts off what takes too long, which sees its signal abort', async () => {
    let aborted = false;
    const server = await testServer([
      embedding({
        async getModel(_, { signal }) {
          await sleep(60_000, undefined, { signal }).catch(() => (aborted = true));
          return {};
        },
      }),
    ]);
    const { client } = testConnection(ClipEmbeddingDefinition, server.address, { retry: { attempts: 1 } });
    const call = expect(client.getModel({})).rejects.toMatchObject({
      code: 'unavailable',
      message: 'peer cut the call off',
    });
    await expect.poll(() => server.runningCalls).toBe(1);
    expect(await server.drain(50)).toBe(false);
    expect(aborted).toBe(true);
    await call;
  });

  it('may be asked for twice, and close cuts it short', async () => {
    const server = await testServer([embedding({ getModel: (_, { signal }) => sleep(60_000, {}, { signal }) })]);
    const { client } = testConnection(ClipEmbeddingDefinition, server.address, { retry: { attempts: 1 } });
    const call = expect(client.getModel({})).rejects.toMatchObject({ code: 'unavailable' });
    await expect.poll(() => server.runningCalls).toBe(1);
    const drains = [server.drain(60_000), server.drain(1)];
    const from = performance.now();
    await server.close();
    await Promise.all([...drains, call]);
    expect(performance.now() - from).toBeLessThan(20_000);
  });
});

async function freePort(): Promise<number> {
  const server = createTcpServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const bound = server.address();
  await new Promise((resolve) => server.close(resolve));
  return typeof bound === 'object' && bound !== null ? bound.port : 0;
}
