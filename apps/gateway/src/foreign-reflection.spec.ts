import { execFile, spawnSync } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { connect } from 'node:http2';
import { promisify } from 'node:util';
import {
  createFileRegistry,
  fromBinary,
  fromJson,
  toBinary,
  toJson,
  type DescService,
  type JsonObject,
} from '@bufbuild/protobuf';
import { FileDescriptorProtoSchema } from '@bufbuild/protobuf/wkt';
import { BinaryReader, BinaryWriter, WireType } from '@bufbuild/protobuf/wire';
import { grpcFrame } from '@clip-gen/testing';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { STAND_IN } from './stand-in-services.ts';
import { startTestGateway, type TestGateway } from './test-gateway.ts';

// A client that knows nothing but HTTP/2 and the reflection protocol's field numbers: no stub, no library of gRPC.

const REFLECTION = '/grpc.reflection.v1.ServerReflection/ServerReflectionInfo';
const ALPHA = REFLECTION.replace('.v1.', '.v1alpha.');
/** Of ServerReflectionRequest. */
const ASK = { symbol: 4, list: 7 };
/** Of ServerReflectionResponse, and of what its answers hold. */
const ANSWER = { files: 4, list: 6, error: 7, entry: 1, name: 1 };

let door: TestGateway;
let ports: Record<string, number>;
beforeAll(async () => {
  door = await startTestGateway();
  ports = {
    'clipgen.v1.ClipEmbedding': door.embedding.server.port,
    'clipgen.v1.TransformerSampler': door.samplers[0]!.server.port,
    'clipgen.v1.TokenDecoder': door.decoders[0]!.server.port,
    'clipgen.v1.ImageGeneration': door.gateway.port,
  };
});
afterAll(() => door.close());

/** One call: all requests, then all answers. */
async function exchange(port: number, path: string, requests: readonly Uint8Array[]): Promise<Uint8Array[]> {
  const session = connect(`http://127.0.0.1:${port}`);
  try {
    const head = { ':method': 'POST', ':path': path, 'content-type': 'application/grpc', te: 'trailers' };
    const stream = session.request(head);
    let status: unknown;
    const read = (headers: Readonly<Record<string, unknown>>): void => {
      status = headers['grpc-status'] ?? status;
    };
    stream.on('response', read).on('trailers', read);
    stream.end(Buffer.concat(requests.map(grpcFrame)));
    const chunks: Buffer[] = [];
    for await (const chunk of stream as AsyncIterable<Buffer>) chunks.push(chunk);
    expect(status, path).toBe('0');
    const bytes = Buffer.concat(chunks);
    const answers: Uint8Array[] = [];
    for (let at = 0; at < bytes.length; at += 5 + bytes.readUInt32BE(at + 1)) {
      answers.push(bytes.subarray(at + 5, at + 5 + bytes.readUInt32BE(at + 1)));
    }
    return answers;
  } finally {
    session.close();
  }
}

/** The texts, bytes or messages of one field, as they stand in a message. */
function fieldsOf(message: Uint8Array, wanted: number): Uint8Array[] {
  const found: Uint8Array[] = [];
  for (const reader = new BinaryReader(message); reader.pos < reader.len;) {
    const [field, type] = reader.tag();
    if (field === wanted && type === WireType.LengthDelimited) found.push(reader.bytes());
    else reader.skip(type, field);
  }
  return found;
}

async function reflect(port: number, ask: number, text: string, path = REFLECTION): Promise<Uint8Array> {
  const request = new BinaryWriter().tag(ask, WireType.LengthDelimited).string(text).finish();
  const [answer] = await exchange(port, path, [request]);
  return answer!;
}

async function listServices(port: number, path?: string): Promise<string[]> {
  const answer = await reflect(port, ASK.list, '*', path);
  return fieldsOf(answer, ANSWER.list)
    .flatMap((list) => fieldsOf(list, ANSWER.entry))
    .flatMap((entry) => fieldsOf(entry, ANSWER.name))
    .map((name) => Buffer.from(name).toString());
}

async function describeService(port: number, name: string): Promise<DescService> {
  const answer = await reflect(port, ASK.symbol, name);
  const files = fieldsOf(answer, ANSWER.files)
    .flatMap((list) => fieldsOf(list, ANSWER.entry))
    .map((bytes) => fromBinary(FileDescriptorProtoSchema, bytes));
  const resolve = (path: string) => files.find((file) => file.name === path);
  return createFileRegistry(files[0]!, resolve).getService(name)!;
}

/** Calls a method by its name, in JSON. */
async function call(service: string, method: string, ...requests: JsonObject[]): Promise<JsonObject[]> {
  const port = ports[service]!;
  const described = (await describeService(port, service)).methods.find(({ name }) => name === method)!;
  const bytes = requests.map((request) => toBinary(described.input, fromJson(described.input, request)));
  const answers = await exchange(port, `/${service}/${method}`, bytes);
  return answers.map((answer) => toJson(described.output, fromBinary(described.output, answer)) as JsonObject);
}

it('lists the services of each server, in both versions of the protocol', async () => {
  for (const [service, port] of Object.entries(ports)) {
    expect(await listServices(port)).toContain(service);
    expect(await listServices(port, ALPHA)).toContain(service);
  }
});

it('says what it does not know', async () => {
  const answer = await reflect(door.gateway.port, ASK.symbol, 'clipgen.v1.Nothing');
  expect(fieldsOf(answer, ANSWER.files)).toEqual([]);
  expect(fieldsOf(answer, ANSWER.error)).toHaveLength(1);
});

it('can be called from the texts to the picture by what it tells of itself', async () => {
  const [texts] = await call('clipgen.v1.ClipEmbedding', 'EmbedText', { texts: ['a red apple'] });
  const embedding = (texts!['embeddings'] as { values: number[] }[])[0]!;
  expect(Math.hypot(...embedding.values)).toBeCloseTo(1, 5);

  const wanted = { conditions: [embedding], candidates: 2, seed: '7', sampling: {} };
  const sampled = await call('clipgen.v1.TransformerSampler', 'Sample', wanted);
  expect(sampled[0]).toHaveProperty('started.gridTokens', STAND_IN.gridTokens);
  expect(sampled.at(-1)).toHaveProperty('finished.tokens', 2 * STAND_IN.gridTokens);
  const tokens = sampled.filter((event) => 'tokens' in event);
  expect(tokens).toHaveLength(STAND_IN.gridTokens);

  const options = { options: { candidates: 2, format: 'IMAGE_FORMAT_RGB8' } };
  const decoded = await call('clipgen.v1.TokenDecoder', 'Decode', options, ...tokens);
  expect(decoded.map(({ image }) => (image as { width: number }).width)).toEqual([8, 8]);
  // JSON leaves out what is zero: the first has no candidate.
  expect(decoded.map(({ candidate = 0 }) => candidate)).toEqual([0, 1]);

  const request = { prompt: 'a red apple', candidates: 2, seed: '7', format: 'IMAGE_FORMAT_RGB8' };
  const events = await call('clipgen.v1.ImageGeneration', 'Generate', request);
  expect(events[0]).toHaveProperty('accepted.seed', '7');
  expect(events.at(-1)).toHaveProperty('finished.totalMs');
  const best = events.find((event) => 'image' in event)!['image'] as { candidate?: number; image: JsonObject };
  expect(best.image['data']).toBe((decoded[best.candidate ?? 0]!['image'] as JsonObject)['data']);
});

const hasGrpcurl = spawnSync('grpcurl', ['-version']).status === 0;
describe.skipIf(!hasGrpcurl)('grpcurl (needs it on the PATH)', () => {
  const grpcurl = async (port: number, ...rest: string[]): Promise<string> => {
    const data = rest.length > 1 ? ['-d', rest[1]!] : [];
    const { stdout } = await promisify(execFile)('grpcurl', ['-plaintext', ...data, `127.0.0.1:${port}`, rest[0]!]);
    return stdout;
  };

  it('lists and calls every service', async () => {
    for (const [service, port] of Object.entries(ports)) expect(await grpcurl(port, 'list')).toContain(service);
    const described = { GetModel: 'ClipEmbedding', GetSampler: 'TransformerSampler', GetDecoder: 'TokenDecoder' };
    for (const [method, name] of Object.entries(described)) {
      const answer = await grpcurl(ports[`clipgen.v1.${name}`]!, `clipgen.v1.${name}/${method}`);
      expect(JSON.parse(answer)).toHaveProperty('weightsSha256', '00');
    }
    const drawn = await grpcurl(door.gateway.port, 'clipgen.v1.ImageGeneration/Generate', '{"prompt": "a red apple"}');
    expect(drawn).toMatch(/"accepted"[^]*"image"[^]*"finished"/);
  });

  it('runs every command of examples/README.md', async () => {
    const text = await readFile(new URL('../../../examples/README.md', import.meta.url), 'utf8');
    const commands = text.split('\n').filter((line) => line.startsWith('grpcurl '));
    expect(commands).toHaveLength(9);
    const own = {
      50050: 'ImageGeneration',
      50051: 'ClipEmbedding',
      50052: 'TransformerSampler',
      50053: 'TokenDecoder',
    };
    const runs = commands.map((command) => {
      const here = command.replace(/127\.0\.0\.1:(5005[0-3])/, (_, port: keyof typeof own) => {
        return `127.0.0.1:${ports[`clipgen.v1.${own[port]}`]}`;
      });
      return promisify(execFile)('sh', ['-c', here]);
    });
    for (const { stdout } of await Promise.all(runs)) expect(stdout).not.toBe('');
  });
});
