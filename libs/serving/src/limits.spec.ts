import {
  ClipEmbeddingDefinition,
  ImageFormat,
  TokenDecoderDefinition,
  TransformerSamplerDefinition,
} from '@clip-gen/contracts';
import { once } from 'node:events';
import { connect as connectSocket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { decoder, embedding, sampler, testConnection, testServer } from './test-services.ts';

const tokens = (count: number) =>
  ({ event: { $case: 'tokens', value: { tokens: Array<number>(count).fill(1) } } }) as const;

describe('limits', () => {
  const image = (bytes: number) => ({ format: ImageFormat.IMAGE_FORMAT_PNG, data: new Uint8Array(bytes) });

  it('refuse a request that is too large, and go on', async () => {
    const embedImage = () => Promise.resolve({ embeddings: [] });
    const server = await testServer([embedding({ embedImage })], { maxReceiveBytes: 10_000 });
    const { client } = testConnection(ClipEmbeddingDefinition, server.address);
    await expect(client.embedImage({ images: [image(10_001)] })).rejects.toMatchObject({
      code: 'resource_exhausted',
      message: expect.stringMatching(/message larger than max \(\d+ vs 10000\)/),
      retryAfterMs: undefined,
    });
    expect(await client.embedImage({ images: [image(9_000)] })).toEqual({ embeddings: [] });
  });

  it('refuse an answer that is too large', async () => {
    const embedText = () => Promise.resolve({ embeddings: [{ values: Array<number>(5_000).fill(1) }] });
    const server = await testServer([embedding({ embedText })]);
    const { client } = testConnection(ClipEmbeddingDefinition, server.address, { maxReceiveBytes: 10_000 });
    await expect(client.embedText({})).rejects.toMatchObject({ code: 'resource_exhausted' });
  });

  it('let further calls of one connection wait', async () => {
    let running = 0;
    let most = 0;
    const getModel = async () => {
      most = Math.max(most, ++running);
      await sleep(5);
      running--;
      return {};
    };
    const server = await testServer([embedding({ getModel })], { maxStreams: 3 });
    const { client } = testConnection(ClipEmbeddingDefinition, server.address);
    await client.getModel({}); // the connection knows the server's limit from here on
    await Promise.all(Array.from({ length: 20 }, () => client.getModel({})));
    expect(most).toBe(3);
  });
});

describe('back-pressure', () => {
  const MESSAGE_TOKENS = 60_000; // as many bytes
  const MANY = 2_000; // 120 MB in all

  it('holds a handler up whose reader is slow', async () => {
    let made = 0;
    const server = await testServer([
      sampler({
        async *sample() {
          for (; made < MANY; made++) yield await Promise.resolve(tokens(MESSAGE_TOKENS));
        },
      }),
    ]);
    const { client } = testConnection(TransformerSamplerDefinition, server.address);
    const stream = client.sample({})[Symbol.asyncIterator]();
    await stream.next();
    const held = await settled(() => made);
    expect(held).toBeLessThan(200);
    for (let read = 0; read < 100; read++) await stream.next();
    expect(await settled(() => made)).toBeGreaterThan(held);
    await stream.return?.();
  });

  it('holds a sender up whose handler is slow', async () => {
    let made = 0;
    let go: () => void = () => undefined;
    const gate = new Promise<void>((resolve) => (go = resolve));
    const server = await testServer([
      decoder({
        async *decode(requests) {
          await gate;
          let bytes = 0;
          for await (const { message } of requests)
            if (message?.$case === 'tokens') bytes += message.value.tokens.length;
          yield { candidate: bytes };
        },
      }),
    ]);
    const { client } = testConnection(TokenDecoderDefinition, server.address);
    const requests = (async function* () {
      const value = { tokens: Array<number>(MESSAGE_TOKENS).fill(1) };
      for (; made < 300; made++) yield await Promise.resolve({ message: { $case: 'tokens', value } as const });
    })();
    const stream = client.decode(requests)[Symbol.asyncIterator]();
    const answer = stream.next();
    expect(await settled(() => made)).toBeLessThan(200);
    go();
    expect((await answer).value).toMatchObject({ candidate: 300 * MESSAGE_TOKENS });
  });

  /** The count once it has stood still for a while. */
  async function settled(count: () => number): Promise<number> {
    for (let last = -1; last !== count();) {
      last = count();
      await sleep(300);
    }
    return count();
  }
});

describe('strangers', () => {
  const PREFACE = 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n';
  it.each([
    ['garbage', Buffer.from([...Array(4096).keys()].map((n) => (n * 7919) % 251))],
    ['HTTP/1.1', Buffer.from('GET / HTTP/1.1\r\nhost: x\r\n\r\n')],
    ['a frame of 16 MB after the preface', Buffer.concat([Buffer.from(PREFACE), Buffer.alloc(9, 0xff)])],
    [
      'a broken header block',
      Buffer.concat([Buffer.from(PREFACE), Buffer.from('000000040000000000000004010500000001ffffffff', 'hex')]),
    ],
    ['nothing', Buffer.alloc(0)],
  ])('who send %s do no harm', async (_, bytes) => {
    const server = await testServer([embedding({ getModel: () => Promise.resolve({ imageSize: 1 }) })]);
    const { client } = testConnection(ClipEmbeddingDefinition, server.address);
    await client.getModel({});
    const socket = connectSocket(server.port, '127.0.0.1');
    socket.on('error', () => undefined);
    await once(socket, 'connect');
    socket.write(bytes);
    await sleep(50);
    expect(await client.getModel({})).toMatchObject({ imageSize: 1 });
    socket.destroy();
  });

  it('who send a message that is no message get a clear status', async () => {
    const server = await testServer([embedding({ getModel: () => Promise.resolve({}) })]);
    const request = { ...ClipEmbeddingDefinition.methods.getModel.requestType };
    const getModel = {
      ...ClipEmbeddingDefinition.methods.getModel,
      requestType: { ...request, encode: () => ({ finish: () => Buffer.from('ff'.repeat(20), 'hex') }) },
    };
    const broken = { ...ClipEmbeddingDefinition, methods: { getModel } };
    const { client } = testConnection(broken as unknown as typeof ClipEmbeddingDefinition, server.address);
    await expect(client.getModel({})).rejects.toMatchObject({ code: 'internal' });
    const { client: sane } = testConnection(ClipEmbeddingDefinition, server.address);
    expect(await sane.getModel({})).toBeDefined();
  });
});
