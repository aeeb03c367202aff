import OpenAI, {
  APIError,
  AuthenticationError,
  BadRequestError,
  InternalServerError,
  NotFoundError,
  RateLimitError,
} from 'openai';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { startTestGateway, until, type TestGateway } from './test-gateway.ts';

// The official client of OpenAI, as people use it.

const KEY = 'sk-of-the-spec';
let door: TestGateway;
let client: OpenAI;
beforeAll(async () => {
  door = await startTestGateway([`--api-keys=${KEY}`, '--max-in-flight=1', '--max-waiting=0', '--attempts=1']);
  client = new OpenAI({ baseURL: `${door.url}/v1`, apiKey: KEY, maxRetries: 0 });
});
afterAll(() => door.close());

const failure = (work: Promise<unknown>): Promise<unknown> =>
  work.then(
    () => 'no error',
    (error: unknown) => error,
  );

it('generates images', async () => {
  const { data, output_format: format } = await client.images.generate({
    model: 'clip-gen',
    prompt: 'a red apple',
    n: 2,
    size: '256x256',
    response_format: 'b64_json',
  });
  expect(format).toBe('png');
  expect(data).toHaveLength(2);
  for (const { b64_json: picture = '' } of data ?? []) {
    expect(Buffer.from(picture, 'base64').subarray(1, 4).toString()).toBe('PNG');
  }
});

it('streams images', async () => {
  const stream = await client.images.generate({ prompt: 'a red apple', stream: true, partial_images: 2 });
  const seen: string[] = [];
  for await (const event of stream) {
    seen.push(event.type);
    expect(event.b64_json.length).toBeGreaterThan(50);
  }
  const partial = 'image_generation.partial_image';
  expect(seen).toEqual([partial, partial, 'image_generation.completed']);
});

it('embeds texts, which it asks for as base64', async () => {
  const { data } = await client.embeddings.create({ model: 'clip-gen', input: ['a cat', 'a dog'] });
  expect(data.map(({ index, embedding }) => [index, embedding.length])).toEqual([
    [0, 8],
    [1, 8],
  ]);
  const { data: plain } = await client.embeddings.create({
    model: 'clip-gen',
    input: 'a dog',
    encoding_format: 'float',
  });
  expect(plain[0]?.embedding).toEqual(data[1]?.embedding);
});

it('lists models', async () => {
  const ids: string[] = [];
  for await (const { id } of client.models.list()) ids.push(id);
  expect(ids).toEqual(['clip-gen', 'clip-gen:vqgan', 'clip-gen:preview']);
  expect(await client.models.retrieve('clip-gen:preview')).toMatchObject({ id: 'clip-gen:preview', object: 'model' });
});

it('throws its own errors', async () => {
  const bad = await failure(client.images.generate({ prompt: 'a red apple', n: 11 }));
  expect(bad).toBeInstanceOf(BadRequestError);
  expect(bad).toMatchObject({ status: 400, param: 'n', type: 'invalid_request_error' });
  expect(bad).toMatchObject({ requestID: expect.stringMatching(/^[\w-]{36}$/) });
  expect(await failure(client.images.generate({ prompt: 'a', model: 'gpt-image-1' }))).toBeInstanceOf(NotFoundError);
  const stranger = new OpenAI({ baseURL: `${door.url}/v1`, apiKey: 'sk-other', maxRetries: 0 });
  expect(await failure(stranger.models.list())).toBeInstanceOf(AuthenticationError);
});

it('comes back after a refusal, by itself', async () => {
  const { switches } = door.samplers[0]!;
  let open = (): void => undefined;
  const opening = new Promise<void>((resolve) => (open = resolve));
  switches.before = () => opening;
  const first = client.images.generate({ prompt: 'a red apple' });
  await until('one runs', () => switches.running === 1);
  expect(await failure(client.images.generate({ prompt: 'a boat' }))).toBeInstanceOf(RateLimitError);
  const patient = client.images.generate({ prompt: 'a boat' }, { maxRetries: 3 });
  setTimeout(open, 100);
  expect((await first).data).toHaveLength(1);
  expect((await patient).data).toHaveLength(1);
  switches.before = () => undefined;
});

it('is told of an error within a stream', async () => {
  const { switches, server } = door.samplers[0]!;
  switches.before = async (position) => {
    if (position === 12) await server.close();
  };
  const work = async (): Promise<void> => {
    const stream = await client.images.generate({ prompt: 'a red apple', stream: true, partial_images: 2 });
    for await (const event of stream) expect(event.type).toBe('image_generation.partial_image');
  };
  const error = await failure(work());
  expect(error).toBeInstanceOf(APIError);
  expect(error).toMatchObject({ code: 'unavailable', message: expect.stringContaining('the sampler service is away') });
  expect(await failure(client.images.generate({ prompt: 'a boat' }))).toBeInstanceOf(InternalServerError);
});
