import { request as httpRequest } from 'node:http';
import { Script } from 'node:vm';
import { decodeImage, encodeImage, resizeImage } from '@clip-gen/image';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { readEvents, startTestGateway, type TestGateway } from '../test-gateway.ts';
import { ImagesEvent, ImagesResponse } from './images-schema.ts';
import { OpenAiErrorBody } from './openai-error.ts';

let door: TestGateway;
beforeAll(async () => {
  door = await startTestGateway(['--max-body-bytes=4096', '--max-candidates=64']);
});
afterAll(() => door.close());

const IMAGES = '/v1/images/generations';

async function images(body: object): Promise<ImagesResponse> {
  const response = await door.post(IMAGES, body);
  const answer: unknown = await response.json();
  expect(response.status, JSON.stringify(answer)).toBe(200);
  return ImagesResponse.parse(answer);
}

const bytes = (b64: string | undefined): Buffer => Buffer.from(b64 ?? '', 'base64');

describe('POST /v1/images/generations', () => {
  it('gives the best pictures, best first, each with its seed, candidate and score', async () => {
    const request = { prompt: 'a red apple', seed: 7, candidates: 6 };
    const all = await images({ ...request, n: 6 });
    expect(all).toMatchObject({ background: 'opaque', output_format: 'png', size: '8x8' });
    expect(all.usage).toMatchObject({ output_tokens: 6 * 16, total_tokens: 6 * 16 });
    const scores = all.data.map(({ clip_score: score }) => score);
    expect(scores).toEqual([...scores].sort((a, b) => b - a));
    expect(new Set(all.data.map(({ candidate }) => candidate)).size).toBe(6);
    expect(new Set(all.data.map(({ b64_json: picture }) => picture)).size).toBe(6);
    const two = await images({ ...request, n: 2 });
    expect(two.data).toEqual(all.data.slice(0, 2));
    expect(two.data[0]).toMatchObject({ seed: 7 });
    const other = await images({ ...request, n: 2, seed: 8 });
    expect(other.data[0]?.b64_json).not.toBe(two.data[0]?.b64_json);
  });

  it('gives the bytes that the command line would save of the same pixels', async () => {
    const request = { prompt: 'a red apple', seed: 7, candidates: 2 };
    const [native] = (await images(request)).data;
    const pixels = await decodeImage(bytes(native?.b64_json));
    expect(bytes(native?.b64_json)).toEqual(await encodeImage(pixels, { format: 'png' }));
    const [large] = (await images({ ...request, size: '256x256' })).data;
    const enlarged = await resizeImage(pixels, { width: 256, height: 256 }, 'cubic');
    expect(bytes(large?.b64_json)).toEqual(await encodeImage(enlarged, { format: 'png' }));
    for (const format of ['jpeg', 'webp'] as const) {
      const [plain] = (await images({ ...request, output_format: format })).data;
      expect(bytes(plain?.b64_json)).toEqual(await encodeImage(pixels, { format }));
      const [small] = (await images({ ...request, output_format: format, output_compression: 0 })).data;
      expect(bytes(small?.b64_json)).toEqual(await encodeImage(pixels, { format, quality: 1 }));
    }
  });

  it('draws a seed when none is given, and the seed gives the picture again', async () => {
    const first = await images({ prompt: 'a boat' });
    const [picture] = first.data;
    expect(first.usage.output_tokens).toBe(16 * 16);
    const again = await images({ prompt: 'a boat', seed: picture?.seed });
    expect(again.data).toEqual(first.data);
    expect((await images({ prompt: 'a boat' })).data[0]?.seed).not.toBe(picture?.seed);
  });

  it('passes sampling options on, and absent ones not', async () => {
    const base = { prompt: 'a boat', seed: 1, candidates: 1 };
    const plain = await images(base);
    for (const option of [{ temperature: 0.5 }, { top_k: 3 }, { top_p: 0.5 }, { guidance_scale: 2 }]) {
      expect((await images({ ...base, ...option })).data[0]?.b64_json).not.toBe(plain.data[0]?.b64_json);
    }
    const nulls = { temperature: null, top_k: null, top_p: null, n: null, size: null, user: null };
    expect((await images({ ...base, ...nulls })).data).toEqual(plain.data);
  });

  it('chooses a decoder by its name or by the model', async () => {
    const base = { prompt: 'a boat', seed: 1, candidates: 2 };
    const [plain] = (await images({ ...base, model: 'clip-gen' })).data;
    const [named] = (await images({ ...base, decoder: 'preview' })).data;
    const [byModel] = (await images({ ...base, model: 'clip-gen:preview' })).data;
    expect((await images({ ...base, decoder: 'vqgan' })).data[0]).toEqual(plain);
    expect(named?.b64_json).not.toBe(plain?.b64_json);
    expect(byModel).toEqual(named);
  });

  it('takes the fields of other servers’ clients', async () => {
    const fields = { quality: 'hd', style: 'vivid', background: 'auto', moderation: 'low', user: 'u', size: 'auto' };
    const answer = await images({ prompt: 'a boat', response_format: 'b64_json', partial_images: 2, ...fields });
    expect(answer.data).toHaveLength(1);
  });

  it('streams partial pictures, then the pictures that the plain answer has', async () => {
    const request = { prompt: 'a red apple', seed: 7, candidates: 5, n: 2 };
    const response = await door.post(IMAGES, { ...request, stream: true, partial_images: 3, progress: true });
    expect(response.headers.get('content-type')).toBe('text/event-stream; charset=utf-8');
    const events: ImagesEvent[] = [];
    for await (const event of readEvents(response)) events.push(ImagesEvent.parse(event));
    const partials = events.filter((event) => event.type === 'image_generation.partial_image');
    expect(partials.map((event) => event.partial_image_index)).toEqual([0, 1, 2]);
    expect(new Set(partials.map((event) => event.b64_json)).size).toBe(3);
    const completed = events.filter((event) => event.type === 'image_generation.completed');
    const { data } = await images(request);
    expect(
      completed.map(({ b64_json, seed, candidate, clip_score }) => ({ b64_json, seed, candidate, clip_score })),
    ).toEqual(data);
    expect(completed.map(({ index }) => index)).toEqual([0, 1]);
    expect(completed[0]?.usage.output_tokens).toBe(5 * 16);
    expect(events.filter((event) => event.type === 'image_generation.progress').at(-1)).toEqual({
      type: 'image_generation.progress',
      ...{ tokens: 80, tokens_total: 80, images: 5, images_total: 5 },
    });
    expect(events.slice(-2)).toEqual(completed);
  });

  it('streams no more than was asked for', async () => {
    const response = await door.post(IMAGES, { prompt: 'a boat', stream: true });
    const types: unknown[] = [];
    for await (const { type } of readEvents(response)) types.push(type);
    expect(types).toEqual(['image_generation.completed']);
  });

  it.each<[string, object, string | null, string]>([
    ['no prompt', {}, 'prompt', 'prompt must be a description in words; got "nothing"'],
    ['a prompt that is no text', { prompt: 3 }, 'prompt', 'prompt must be a description in words; got 3'],
    ['an empty prompt', { prompt: ' \n' }, 'prompt', 'prompt must be a description in words'],
    ['a long prompt', { prompt: 'x'.repeat(1001) }, 'prompt', 'prompt must be at most 1000 characters long'],
    ['too many tokens', { prompt: 'word '.repeat(30) }, 'prompt', 'prompt must be at most 20 tokens long; got 30'],
    ['n', { n: 11 }, 'n', 'n must be an integer in [1, 10]; got 11'],
    ['n as text', { n: '2' }, 'n', 'n must be an integer in [1, 10]; got "2"'],
    ['candidates', { candidates: 65 }, 'candidates', 'candidates must be an integer in [1, 64]; got 65'],
    ['n > candidates', { candidates: 1, n: 2 }, 'candidates', 'candidates must be at least 2'],
    ['a seed past 2^53', { seed: 2 ** 53 }, 'seed', 'seed must be an integer in'],
    ['a temperature', { temperature: -1 }, 'temperature', 'temperature must be in [0, 10]; got -1'],
    ['top_k past the codebook', { top_k: 33 }, 'top_k', 'top_k must be an integer in [1, 32]; got 33'],
    ['top_p', { top_p: 0 }, 'top_p', 'top_p must be in (0, 1]; got 0'],
    ['guidance', { guidance_scale: 51 }, 'guidance_scale', 'guidance_scale must be in [0, 50]; got 51'],
    ['a decoder', { decoder: 'gif' }, 'decoder', 'decoder must be one of vqgan, preview; got "gif"'],
    ['a size', { size: 'big' }, 'size', 'size must be auto or <width>x<height>; got "big"'],
    ['a size past the limit', { size: '4096x64' }, 'size', 'size must be auto, or sides in [8, 2048]; got "4096x64"'],
    ['a url', { response_format: 'url' }, 'response_format', 'response_format must be b64_json: pictures are not kept'],
    ['a format', { output_format: 'gif' }, 'output_format', 'output_format must be one of png, jpeg, webp; got "gif"'],
    [
      'compression of PNG',
      { output_compression: 50 },
      'output_compression',
      'output_compression must be absent with png',
    ],
    ['partial images', { partial_images: 4 }, 'partial_images', 'partial_images must be an integer in [0, 3]; got 4'],
    ['stream', { stream: 'yes' }, 'stream', 'stream must be true or false; got "yes"'],
    ['an unknown field', { topk: 3 }, 'topk', 'topk is no field of this request; did you mean top_k?'],
  ])('refuses %s with the field’s name', async (_, change, param, message) => {
    const before = door.samplers[0]!.switches.calls;
    const response = await door.post(IMAGES, {
      ...(Object.keys(change).length > 0 && { prompt: 'a boat' }),
      ...change,
    });
    expect(response.status).toBe(400);
    const { error } = OpenAiErrorBody.parse(await response.json());
    expect(error).toMatchObject({ type: 'invalid_request_error', param, code: null });
    expect(error.message).toContain(message);
    expect(door.samplers[0]!.switches.calls).toBe(before); // limits before work
  });

  it('knows no other models', async () => {
    const response = await door.post(IMAGES, { prompt: 'a boat', model: 'dall-e-3' });
    expect(response.status).toBe(404);
    expect(await response.json()).toMatchObject({ error: { code: 'model_not_found', param: 'model' } });
  });

  it.each<[string, string, Record<string, string>, number, string]>([
    ['broken JSON', '{"prompt": ', {}, 400, 'the body must be a JSON object'],
    ['no body', '', {}, 400, 'the body must be a JSON object; it is empty'],
    ['an array', '[]', {}, 400, 'body must be a JSON object; got "an array"'],
    ['null', 'null', {}, 400, 'body must be a JSON object; got "null"'],
    ['a poisoned object', '{"__proto__": {"n": 3}}', {}, 400, 'the body must be a JSON object'],
    ['a large body', JSON.stringify({ prompt: 'x'.repeat(5000) }), {}, 413, 'the body is larger'],
    ['another type', 'prompt=apple', { 'content-type': 'application/x-www-form-urlencoded' }, 415, 'application/json'],
  ])('refuses %s', async (_, body, headers, status, message) => {
    const response = await door.post(IMAGES, body, { headers });
    expect(response.status).toBe(status);
    const { error } = OpenAiErrorBody.parse(await response.json());
    expect(error.type).toBe('invalid_request_error');
    expect(error.message).toContain(message);
  });

  it('refuses a body without end as soon as it is too large', async () => {
    const status = await new Promise<number | undefined>((resolve, reject) => {
      const request = httpRequest(`${door.url}${IMAGES}`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', 'transfer-encoding': 'chunked' },
      });
      request.on('response', (response) => resolve(response.statusCode));
      request.on('error', reject);
      request.write('{"prompt": "');
      request.write('x'.repeat(10_000));
    });
    expect(status).toBe(413);
  });
});

describe('POST /v1/embeddings', () => {
  it('embeds texts, as numbers or as base64', async () => {
    const response = await door.post('/v1/embeddings', { input: ['a cat', 'a dog'], model: 'clip-gen' });
    const { data } = (await response.json()) as { data: { index: number; embedding: number[] }[] };
    expect(data.map(({ index, embedding }) => [index, embedding.length])).toEqual([
      [0, 8],
      [1, 8],
    ]);
    expect(Math.hypot(...data[0]!.embedding)).toBeCloseTo(1, 5);
    const packed = await door.post('/v1/embeddings', { input: 'a dog', encoding_format: 'base64', dimensions: 8 });
    const [only] = ((await packed.json()) as { data: { embedding: string }[] }).data;
    const buffer = bytes(only?.embedding);
    expect(Array.from({ length: 8 }, (_, i) => buffer.readFloatLE(i * 4))).toEqual(data[1]!.embedding);
  });

  it.each<[object, string, string]>([
    [{}, 'input', 'input must be a text, or an array of 1 to 64 texts'],
    [{ input: [] }, 'input', 'input must be'],
    [{ input: [1, 2] }, 'input', 'input must be'],
    [{ input: 'word '.repeat(30) }, 'input', 'input must be at most 20 tokens long'],
    [{ input: 'a cat', dimensions: 7 }, 'dimensions', 'dimensions must be 8, the width of this model; got 7'],
    [{ input: 'a cat', encoding_format: 'hex' }, 'encoding_format', 'encoding_format must be one of float, base64'],
  ])('refuses %j', async (body, param, message) => {
    const response = await door.post('/v1/embeddings', body);
    expect(response.status).toBe(400);
    const { error } = OpenAiErrorBody.parse(await response.json());
    expect(error.param).toBe(param);
    expect(error.message).toContain(message);
  });
});

describe('the rest of the door', () => {
  const get = (path: string, init?: RequestInit): Promise<Response> => fetch(`${door.url}${path}`, init);

  it('lists models', async () => {
    expect(await (await get('/v1/models')).json()).toMatchObject({
      object: 'list',
      data: ['clip-gen', 'clip-gen:vqgan', 'clip-gen:preview'].map((id) => ({ id, object: 'model' })),
    });
    expect(await (await get('/v1/models/clip-gen%3Apreview')).json()).toMatchObject({ id: 'clip-gen:preview' });
    expect((await get('/v1/models/gpt-4')).status).toBe(404);
  });

  it('tells health, readiness and metrics', async () => {
    expect((await get('/healthz')).status).toBe(200);
    const ready = await get('/readyz');
    expect(ready.status).toBe(200);
    expect(await ready.json()).toEqual({
      status: 'ready',
      missing: [],
      services: { embedding: 'ready', sampler: 'ready', 'decoder vqgan': 'ready', 'decoder preview': 'ready' },
    });
    const [own, operators] = await Promise.all([
      get('/metrics'),
      fetch(`http://127.0.0.1:${door.gateway.metricsPort}/metrics`),
    ]);
    expect(own.headers.get('content-type')).toBe(operators.headers.get('content-type'));
    const series = (text: string): string[] => text.split('\n').filter((line) => line.startsWith('# TYPE'));
    const text = await own.text();
    expect(series(text)).toEqual(series(await operators.text()));
    expect(text).toMatch(/clip_gen_http_requests_total\{route="\/v1\/images\/generations",status="200"\} \d+/);
    const seconds = /clip_gen_http_request_seconds_sum\{route="\/v1\/images\/generations"\} (\S+)/.exec(text)?.[1];
    expect(Number(seconds)).toBeGreaterThan(0.001);
  });

  it('describes itself by the schemas that check', async () => {
    const document = (await (await get('/openapi.json')).json()) as {
      openapi: string;
      paths: Record<string, object>;
      components: { schemas: Record<string, { properties?: Record<string, unknown>; required?: string[] }> };
    };
    expect(document.openapi).toBe('3.1.0');
    expect(Object.keys(document.paths)).toContain('/v1/images/generations');
    const { ImagesRequest: schema } = document.components.schemas;
    expect(schema?.required).toEqual(['prompt']);
    expect(schema?.properties?.['n']).toMatchObject({ type: 'integer', minimum: 1, maximum: 10 });
    expect(schema?.properties?.['guidance_scale']).toMatchObject({ type: 'number', minimum: 0, maximum: 50 });
    const references = JSON.stringify(document).matchAll(/"#\/components\/schemas\/(\w+)"/g);
    for (const [, name = ''] of references) expect(document.components.schemas).toHaveProperty(name);
  });

  it('shows a page that needs nothing from elsewhere', async () => {
    const response = await get('/');
    const page = await response.text();
    expect(response.headers.get('content-type')).toBe('text/html; charset=utf-8');
    expect(page).not.toMatch(/(src|href)="(https?:)?\/\//);
    expect(page).not.toMatch(/\son\w+=|style="/); // the policy would not let them run
    for (const [, script = ''] of page.matchAll(/<script>([^]*?)<\/script>/g)) new Script(script); // parses
    for (const [, id] of page.matchAll(/at\('(\w+)'\)/g)) expect(page).toContain(`id="${id}"`);
    const policy = response.headers.get('content-security-policy') ?? '';
    expect(policy).toContain("default-src 'none'");
    expect(policy.match(/'sha256-/g)).toHaveLength(2);
  });

  it.each<[string, string, number, string | null]>([
    ['GET', '/nowhere', 404, null],
    ['POST', '/v1/images/edits', 404, null],
    ['GET', IMAGES, 405, 'POST'],
    ['DELETE', IMAGES, 405, 'POST'],
    ['POST', '/readyz', 405, 'GET, HEAD'],
    ['DELETE', '/v1/models/clip-gen', 405, 'GET, HEAD'],
  ])('answers %s %s with %d', async (method, path, status, allow) => {
    const response = await get(path, { method });
    expect(response.status).toBe(status);
    expect(response.headers.get('allow')).toBe(allow);
    expect(OpenAiErrorBody.parse(await response.json()).error.type).toBe('invalid_request_error');
  });

  it('passes a request’s id through all services and logs, and makes one where it is missing', async () => {
    const id = `spec-${Date.now()}`;
    const body = { prompt: 'a boat', candidates: 2 };
    const response = await door.post(IMAGES, body, { headers: { 'x-request-id': id } });
    expect(response.headers.get('x-request-id')).toBe(id);
    for (const { switches } of [door.embedding, ...door.samplers, ...door.decoders]) {
      expect(switches.requestIds).toContain(id);
    }
    expect(door.log.some((line) => line['requestId'] === id && line['msg'] === 'http request')).toBe(true);
    const other = await get('/healthz', { headers: { 'x-request-id': 'no id at all' } });
    expect(z.uuid().safeParse(other.headers.get('x-request-id')).success).toBe(true);
  });
});
