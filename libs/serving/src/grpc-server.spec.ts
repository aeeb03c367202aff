import { ClipEmbeddingDefinition, TransformerSamplerDefinition } from '@clip-gen/contracts';
import { ClipGenError, type ErrorCode } from '@clip-gen/errors';
import { createLogger, currentRequestId, Metrics, withRequestId } from '@clip-gen/telemetry';
import { fromBinary } from '@bufbuild/protobuf';
import { FileDescriptorProtoSchema } from '@bufbuild/protobuf/wkt';
import { createChannel, createClient, Metadata, Status, type CallContext } from 'nice-grpc';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it, onTestFinished } from 'vitest';
import { ERROR_STATUS } from './error-status.ts';
import {
  HealthCheckResponse_ServingStatus as ServingStatus,
  HealthDefinition,
} from './generated/grpc/health/v1/health.ts';
import { ServerReflectionDefinition, type ServerReflectionRequest } from './generated/grpc/reflection/v1/reflection.ts';
import { startServer } from './grpc-server.ts';
import { embedding, sampler, testConnection, testServer } from './test-services.ts';

const SAMPLER = 'clipgen.v1.TransformerSampler';

/** A bare gRPC client, without anything of ours around it. */
function bareClient<D extends Parameters<typeof createClient>[0]>(definition: D, address: string) {
  const channel = createChannel(address);
  onTestFinished(() => channel.close());
  return createClient(definition, channel);
}

const model = () => Promise.resolve({ imageSize: 224 });

describe('health', () => {
  it('is NOT_SERVING until told, as a whole and for each service', async () => {
    const server = await testServer([sampler({})]);
    server.setServing(false);
    const client = bareClient(HealthDefinition, server.address);
    expect(await client.check({ service: '' })).toEqual({ status: ServingStatus.NOT_SERVING });
    expect(await client.check({ service: SAMPLER })).toEqual({ status: ServingStatus.NOT_SERVING });
    server.setServing(true);
    expect(await client.check({ service: SAMPLER })).toEqual({ status: ServingStatus.SERVING });
    expect(Object.keys((await client.list({})).statuses)).toEqual(['', SAMPLER]);
    await expect(client.check({ service: 'other' })).rejects.toMatchObject({ code: Status.NOT_FOUND });
  });

  it('tells watchers each change, and ends their streams when the server drains', async () => {
    const server = await testServer([sampler({})]);
    server.setServing(false);
    const seen: ServingStatus[] = [];
    for await (const { status } of bareClient(HealthDefinition, server.address).watch({ service: SAMPLER })) {
      seen.push(status);
      if (seen.length === 1) server.setServing(true);
      if (seen.length === 2) void server.drain(5_000);
    }
    expect(seen).toEqual([ServingStatus.NOT_SERVING, ServingStatus.SERVING, ServingStatus.NOT_SERVING]);
  });

  it('refuses calls while it does not serve', async () => {
    const server = await testServer([embedding({ getModel: model })]);
    server.setServing(false);
    const { client } = testConnection(ClipEmbeddingDefinition, server.address, { retry: { attempts: 1 } });
    await expect(client.getModel({})).rejects.toMatchObject({
      code: 'unavailable',
      message: 'peer: test is not serving yet; try again soon',
    });
    server.setServing(true);
    expect(await client.getModel({})).toMatchObject({ imageSize: 224 });
  });
});

describe('reflection', () => {
  const alpha = { ...ServerReflectionDefinition, fullName: 'grpc.reflection.v1alpha.ServerReflection' };
  const ask = async (definition: typeof ServerReflectionDefinition, address: string, ...questions: Question[]) => {
    const requests = (async function* () {
      for (const messageRequest of questions) yield await Promise.resolve({ host: '', messageRequest });
    })();
    const answers = [];
    const client = bareClient(definition, address);
    for await (const { messageResponse } of client.serverReflectionInfo(requests)) answers.push(messageResponse);
    return answers;
  };
  type Question = NonNullable<ServerReflectionRequest['messageRequest']>;

  it.each([
    ['v1', ServerReflectionDefinition],
    ['v1alpha', alpha as unknown as typeof ServerReflectionDefinition],
  ])('lists the services (%s)', async (_, definition) => {
    const server = await testServer([sampler({}), embedding({})]);
    const [answer] = await ask(definition, server.address, { $case: 'listServices', value: '' });
    expect(answer).toEqual({
      $case: 'listServicesResponse',
      value: {
        service: [
          SAMPLER,
          'clipgen.v1.ClipEmbedding',
          'grpc.health.v1.Health',
          'grpc.reflection.v1.ServerReflection',
        ].map((name) => ({ name })),
      },
    });
  });

  it('gives files with their imports by service, message, method, field and name', async () => {
    const { address } = await testServer([sampler({})]);
    const wanted = [
      ['clipgen.v1.TransformerSampler', 'clipgen/v1/transformer_sampler.proto'],
      ['clipgen.v1.TransformerSampler.Sample', 'clipgen/v1/transformer_sampler.proto'],
      ['clipgen.v1.SampleRequest.seed', 'clipgen/v1/transformer_sampler.proto'],
      ['clipgen.v1.ImageFormat', 'clipgen/v1/image.proto'],
      ['grpc.health.v1.Health', 'grpc/health/v1/health.proto'],
    ] as const;
    const answers = await ask(
      ServerReflectionDefinition,
      address,
      ...wanted.map(([value]) => ({ $case: 'fileContainingSymbol', value }) as const),
      { $case: 'fileByFilename', value: 'clipgen/v1/tokens.proto' },
    );
    const names = answers.map((answer) =>
      answer?.$case === 'fileDescriptorResponse'
        ? answer.value.fileDescriptorProto.map((bytes) => fromBinary(FileDescriptorProtoSchema, bytes).name)
        : [],
    );
    expect(names.map(([first]) => first)).toEqual([...wanted.map(([, file]) => file), 'clipgen/v1/tokens.proto']);
    expect(names[0]).toEqual(expect.arrayContaining(['clipgen/v1/embedding.proto', 'clipgen/v1/tokens.proto']));
  });

  it('says what it does not know, and goes on', async () => {
    const { address } = await testServer([sampler({})]);
    const answers = await ask(
      ServerReflectionDefinition,
      address,
      { $case: 'fileContainingSymbol', value: 'clipgen.v1.TransformerSampler.Nothing' },
      { $case: 'fileContainingSymbol', value: '' },
      { $case: 'fileByFilename', value: '../../etc/passwd' },
      { $case: 'allExtensionNumbersOfType', value: SAMPLER },
      { $case: 'listServices', value: '' },
    );
    expect(answers.map((answer) => answer?.$case)).toEqual([
      ...Array<string>(4).fill('errorResponse'),
      'listServicesResponse',
    ]);
  });
});

describe('errors', () => {
  it.each(Object.keys(ERROR_STATUS) as ErrorCode[])('%s arrives as it was thrown', async (code) => {
    const server = await testServer([
      embedding({
        embedText: () => {
          throw new ClipGenError(code, 'texts must be 1 to 64; got 0 – naïve', { retryAfterMs: 1234.2 });
        },
      }),
    ]);
    const { client } = testConnection(ClipEmbeddingDefinition, server.address, { retry: { attempts: 1 } });
    const error: unknown = await client.embedText({ texts: [] }).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(ClipGenError);
    // A peer that cancels by itself, with nobody here hanging up, is a peer that went away.
    expect(error).toMatchObject({ code: code === 'cancelled' ? 'unavailable' : code });
    if (code === 'invalid_argument' || code === 'resource_exhausted') {
      expect(error).toMatchObject({ message: 'texts must be 1 to 64; got 0 – naïve', retryAfterMs: 1235 });
    }
  });

  it('reads retry-after from the trailers of streams too', async () => {
    const server = await testServer([
      sampler({
        async *sample() {
          await Promise.resolve();
          if (server.serving) throw new ClipGenError('resource_exhausted', 'full', { retryAfterMs: 70 });
          yield {};
        },
      }),
    ]);
    const { client } = testConnection(TransformerSamplerDefinition, server.address);
    await expect(collect(client.sample({}))).rejects.toMatchObject({ code: 'resource_exhausted', retryAfterMs: 70 });
  });

  it('does not leak what broke inside, but logs it under the request id', async () => {
    const lines: string[] = [];
    const logger = createLogger({ service: 'test', destination: { write: (line) => lines.push(line) } });
    const getModel = () => {
      throw new TypeError('secret path /root/x');
    };
    const server = await testServer([embedding({ getModel })], { logger });
    const { client } = testConnection(ClipEmbeddingDefinition, server.address);
    const error = await withRequestId('req-7', () => client.getModel({})).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({
      code: 'internal',
      message: "peer: internal error; the server's log has it under request req-7",
    });
    const entry = lines
      .map((line) => JSON.parse(line) as Record<string, unknown>)
      .find(({ level }) => level === 'error');
    expect(entry).toMatchObject({ requestId: 'req-7', code: 'INTERNAL', err: { message: 'secret path /root/x' } });
  });

  it('shortens what would not fit into a header', async () => {
    const getModel = () => {
      throw new ClipGenError('not_found', 'ü'.repeat(100_000));
    };
    const server = await testServer([embedding({ getModel })]);
    const { client } = testConnection(ClipEmbeddingDefinition, server.address);
    const message: unknown = expect.stringMatching(/^ü{997}\.\.\.$/);
    await expect(client.getModel({})).rejects.toMatchObject({ code: 'not_found', message });
  });
});

describe('request ids', () => {
  it('travel over two hops, through generators, and come back in the header', async () => {
    const seen: (string | undefined)[] = [];
    const back = await testServer([
      sampler({
        async *sample() {
          seen.push(currentRequestId());
          yield {};
          await Promise.resolve();
          seen.push(currentRequestId());
          yield {};
        },
      }),
    ]);
    const inner = testConnection(TransformerSamplerDefinition, back.address);
    const front = await testServer([
      embedding({
        async getModel() {
          await collect(inner.client.sample({}));
          seen.push(currentRequestId());
          return {};
        },
      }),
    ]);
    const outer = testConnection(ClipEmbeddingDefinition, front.address);
    let header: string | undefined;
    const onHeader = (metadata: Metadata) => (header = metadata.get('x-request-id'));
    await withRequestId('abc_1', () => outer.client.getModel({}, { onHeader }));
    expect(seen).toEqual(['abc_1', 'abc_1', 'abc_1']);
    expect(header).toBe('abc_1');
  });

  it('are made where a stranger sends none, or one that would spoil a log', async () => {
    const seen: (string | undefined)[] = [];
    const getModel = () => {
      seen.push(currentRequestId());
      return model();
    };
    const server = await testServer([embedding({ getModel })]);
    const client = bareClient(ClipEmbeddingDefinition, server.address);
    await client.getModel({});
    await client.getModel({}, { metadata: Metadata({ 'x-request-id': 'a b"c' }) });
    await client.getModel({}, { metadata: Metadata({ 'x-request-id': 'x'.repeat(65) }) });
    expect(seen).toHaveLength(3);
    for (const id of seen) expect(id).toMatch(/^[0-9a-f-]{36}$/);
    expect(new Set(seen).size).toBe(3);
  });
});

it('keeps the deadline of clients that leave it to the server', async () => {
  const metrics = new Metrics({ process: false });
  const getModel = async (_: unknown, { signal, metadata }: CallContext) => {
    await sleep(60_000, undefined, { signal });
    return { imageSize: [...metadata].length };
  };
  const server = await testServer([embedding({ getModel })], { metrics });
  const client = bareClient(ClipEmbeddingDefinition, server.address);
  const metadata = Metadata({ 'grpc-timeout': '200m', 'clip-gen-internal-deadline': '1' });
  await expect(client.getModel({}, { metadata })).rejects.toMatchObject({ code: Status.DEADLINE_EXCEEDED });
  await expect.poll(() => metrics.text()).toContain('GetModel",code="DEADLINE_EXCEEDED"} 1');
  await expect(client.getModel({}, { metadata: Metadata({ 'grpc-timeout': 'soon' }) })).rejects.toMatchObject({
    code: Status.INTERNAL,
  });
});

it('counts and logs every call, but no probes', async () => {
  const lines: string[] = [];
  const logger = createLogger({ service: 'test', level: 'debug', destination: { write: (line) => lines.push(line) } });
  const metrics = new Metrics({ process: false });
  const server = await testServer([embedding({ getModel: model })], { logger, metrics });
  const clientMetrics = new Metrics({ process: false });
  const { client } = testConnection(ClipEmbeddingDefinition, server.address, { metrics: clientMetrics });
  await client.getModel({});
  await client.getModel({});
  await expect(client.embedText({})).rejects.toMatchObject({ code: 'unimplemented' });
  await bareClient(HealthDefinition, server.address).check({ service: '' });

  const text = await metrics.text();
  const service = 'grpc_service="clipgen.v1.ClipEmbedding"';
  expect(text).toContain(`clip_gen_grpc_server_handled_total{${service},method="GetModel",code="OK"} 2`);
  expect(text).toContain(`clip_gen_grpc_server_handled_total{${service},method="EmbedText",code="UNIMPLEMENTED"} 1`);
  expect(text).toContain(`clip_gen_grpc_server_running{${service},method="GetModel"} 0`);
  expect(text).toContain(`clip_gen_grpc_server_seconds_count{${service},method="GetModel"} 2`);
  expect(text).not.toContain('Health');
  expect(await clientMetrics.text()).toContain(
    'clip_gen_grpc_client_handled_total{peer="peer",method="clipgen.v1.ClipEmbedding/GetModel",code="OK"} 2',
  );
  const calls = lines
    .map((line) => JSON.parse(line) as Record<string, unknown>)
    .flatMap(({ level, method, code, ms, requestId }) => (method ? { level, method, code, ms, requestId } : []));
  expect(calls).toEqual(
    ['GetModel', 'GetModel', 'EmbedText'].map((method, index) => ({
      level: index < 2 ? 'debug' : 'warn', // who only asks what is there does so every second
      method: `clipgen.v1.ClipEmbedding/${method}`,
      code: index < 2 ? 'OK' : 'UNIMPLEMENTED',
      ms: expect.any(Number),
      requestId: expect.stringMatching(/^[0-9a-f-]{36}$/),
    })),
  );
});

describe('startServer', () => {
  const start = (address: string) => startServer({ name: 'test', address, services: [sampler({})] });

  it('says when the port is taken', async () => {
    const { address } = await testServer([sampler({})]);
    await expect(start(address)).rejects.toMatchObject({
      code: 'unavailable',
      message: expect.stringContaining(address),
    });
  });

  it.each(['', 'localhost', '127.0.0.1:', ':50052', 'a b:1', '127.0.0.1:70000', 'http://127.0.0.1:0'])(
    'refuses the address %j',
    async (address) => {
      await expect(start(address)).rejects.toMatchObject({
        code: 'invalid_argument',
        message: expect.stringContaining('address must be host:port'),
      });
    },
  );
});

async function collect<T>(stream: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const each of stream) all.push(each);
  return all;
}
