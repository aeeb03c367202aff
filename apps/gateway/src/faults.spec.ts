import { connect as connectSocket } from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';
import { ImageGenerationDefinition } from '@clip-gen/contracts';
import { ClipGenError } from '@clip-gen/errors';
import { connect } from '@clip-gen/serving';
import { afterEach, describe, expect, it } from 'vitest';
import { STAND_IN, standInDecoder, standInEmbedding, standInSampler } from './stand-in-services.ts';
import { dataOf, readEvents, startQuietGateway, startTestGateway, until, type TestGateway } from './test-gateway.ts';

const IMAGES = '/v1/images/generations';
const REQUEST = { prompt: 'a red apple', seed: 7, candidates: 5, n: 3 };

const opened: { close(): Promise<void> }[] = [];
afterEach(async () => {
  for (const { close } of opened.splice(0).reverse()) await close();
});

async function start(...args: Parameters<typeof startTestGateway>): Promise<TestGateway> {
  const door = await startTestGateway(...args);
  opened.push(door);
  return door;
}

describe('a replica that goes away under a request', () => {
  it.each(['samplers', 'decoders'] as const)('costs nothing: %s', async (role) => {
    const door = await start([], { replicas: 2 });
    const expected = await dataOf(await door.post(IMAGES, REQUEST));
    const replicas = door[role];
    const before = replicas.map(({ switches }) => switches.calls);
    let killed = 0;
    for (const { server, switches } of replicas) {
      switches.before = async (unit) => {
        if (unit !== 2 || killed > 0) return;
        killed++;
        await server.close();
      };
    }
    expect(await dataOf(await door.post(IMAGES, REQUEST))).toEqual(expected);
    expect(killed).toBe(1);
    const calls = replicas.map(({ switches }, i) => switches.calls - before[i]!);
    expect(calls.every((count) => count >= 1)).toBe(true); // the other one took over
    expect(door.log.some(({ msg }) => msg === 'a replica went away: going on')).toBe(true);
    expect(await door.gateway.metrics.text()).toMatch(
      /clip_gen_generation_retries_total\{stage="(sampler|decoder)"\} [1-9]/,
    );
    // What is left serves all that comes.
    expect(await dataOf(await door.post(IMAGES, REQUEST))).toEqual(expected);
  });

  it.each([
    ['samplers', STAND_IN.gridTokens],
    ['decoders', REQUEST.candidates],
  ] as const)('costs nothing after its last message either: %s', async (role, end) => {
    const door = await start([], { replicas: 2 });
    const expected = await dataOf(await door.post(IMAGES, REQUEST));
    let killed = 0;
    for (const { server, switches } of door[role]) {
      switches.before = async (unit) => {
        if (unit !== end || killed > 0) return;
        killed++;
        await server.close();
      };
    }
    expect(await dataOf(await door.post(IMAGES, REQUEST))).toEqual(expected);
    expect(killed).toBe(1);
  });

  it('sends no partial picture twice', async () => {
    const door = await start([], { replicas: 2 });
    let killed = false;
    for (const { server, switches } of door.samplers) {
      switches.before = async (position) => {
        if (position !== 9 || killed) return;
        killed = true;
        await server.close();
      };
    }
    const response = await door.post(IMAGES, { ...REQUEST, stream: true, partial_images: 3 });
    const types: unknown[] = [];
    for await (const { type, partial_image_index: index } of readEvents(response)) types.push(index ?? type);
    const completed = Array<string>(3).fill('image_generation.completed');
    expect(types).toEqual([0, 1, 2, ...completed]);
    expect(killed).toBe(true);
  });
});

describe('a service that is away', () => {
  it.each([
    ['embedding', 'embedding'],
    ['sampler', 'sampler'],
    ['decoder', 'decoder vqgan'],
  ] as const)('is named, and found again: %s', async (role, name) => {
    const door = await start(['--attempts=2']);
    const expected = await dataOf(await door.post(IMAGES, REQUEST));
    const lost = { embedding: door.embedding, sampler: door.samplers[0]!, decoder: door.decoders[0]! }[role];
    await lost.server.close();
    const response = await door.post(IMAGES, REQUEST);
    expect(response.status).toBe(503);
    expect(response.headers.get('retry-after')).toMatch(/^\d+$/);
    const { error } = (await response.json()) as { error: { message: string; type: string } };
    expect(error).toMatchObject({ type: 'service_unavailable' });
    expect(error.message).toContain(`the ${name} service is away`);
    expect(error.message).not.toContain('127.0.0.1');
    await until('readyz tells', async () => {
      const ready = await fetch(`${door.url}/readyz`);
      return ready.status === 503 && JSON.stringify(await ready.json()).includes(`"missing":["${name}"]`);
    });
    expect((await fetch(`${door.url}/healthz`)).status).toBe(200);

    const again = { embedding: standInEmbedding, sampler: standInSampler, decoder: standInDecoder }[role];
    const back = await again(lost.address);
    opened.push(back.server);
    await until('readyz is ready', async () => (await fetch(`${door.url}/readyz`)).status === 200);
    expect(await dataOf(await door.post(IMAGES, REQUEST))).toEqual(expected);
  });

  it('closes the doors to nobody else, where it is one decoder of several', async () => {
    const [embedding, sampler, decoder] = await Promise.all([standInEmbedding(), standInSampler(), standInDecoder()]);
    const { gateway } = await startQuietGateway({
      embedding: embedding.address,
      sampler: sampler.address,
      decoders: `vqgan=${decoder.address},away=127.0.0.1:9`,
    });
    opened.push(embedding.server, sampler.server, decoder.server, gateway);
    const url = `http://127.0.0.1:${gateway.httpPort}`;
    await until('it is ready', async () => (await fetch(`${url}/readyz`)).ok);
    expect(await (await fetch(`${url}/readyz`)).json()).toMatchObject({ status: 'ready', missing: ['decoder away'] });
    const headers = { 'content-type': 'application/json' };
    const ask = (decoders: object): Promise<Response> =>
      fetch(url + IMAGES, { method: 'POST', headers, body: JSON.stringify({ ...REQUEST, ...decoders }) });
    await dataOf(await ask({}));
    expect((await ask({ decoder: 'away' })).status).toBe(503);
    const grpc = connect(ImageGenerationDefinition, {
      ...{ name: 'gateway', addresses: [`127.0.0.1:${gateway.port}`], deadlineMs: 10_000, retry: { attempts: 1 } },
    });
    expect(await grpc.client.listDecoders({})).toEqual({ names: ['vqgan', 'away'] });
    grpc.close();
  });

  it('is not made up for by others', async () => {
    const door = await start(['--attempts=3']);
    const [decoder] = door.decoders;
    const judging = (unit: number): void => {
      if (unit > 0) throw new ClipGenError('unavailable', 'not now'); // texts are embedded, pictures are not
    };
    door.embedding.switches.before = judging;
    const response = await door.post(IMAGES, REQUEST);
    expect(response.status).toBe(503);
    expect(JSON.stringify(await response.json())).toContain('the embedding service is away');
    expect(decoder!.switches.calls).toBe(1); // the decoder has done nothing wrong
  });

  it('may come later than the gateway', async () => {
    const [embedding, decoder] = [await standInEmbedding(), await standInDecoder()];
    const spare = await standInSampler();
    await spare.server.close(); // its port is free now
    const { gateway } = await startQuietGateway({
      embedding: embedding.address,
      sampler: spare.address,
      decoders: `vqgan=${decoder.address}`,
    });
    opened.push(embedding.server, decoder.server, gateway);
    const url = `http://127.0.0.1:${gateway.httpPort}`;
    expect((await fetch(`${url}/readyz`)).status).toBe(503);
    opened.unshift((await standInSampler(spare.address)).server);
    await until('readyz is ready', async () => (await fetch(`${url}/readyz`)).status === 200);
  });

  it('does not fit: says so', async () => {
    const [embedding, sampler, decoder] = await Promise.all([
      standInEmbedding(),
      standInSampler(undefined, { codebookSize: 64 }),
      standInDecoder(),
    ]);
    const { gateway } = await startQuietGateway({
      embedding: embedding.address,
      sampler: sampler.address,
      decoders: `vqgan=${decoder.address}`,
    });
    opened.push(embedding.server, sampler.server, decoder.server, gateway);
    const url = `http://127.0.0.1:${gateway.httpPort}`;
    const ready = await fetch(`${url}/readyz`);
    expect(ready.status).toBe(503);
    expect(await ready.json()).toMatchObject({
      services: { 'decoder vqgan': 'it knows 32 codes, the sampler draws from 64' },
    });
    const headers = { 'content-type': 'application/json' };
    const response = await fetch(url + IMAGES, { method: 'POST', headers, body: JSON.stringify(REQUEST) });
    expect(response.status).toBe(503);
  });
});

describe('a client that goes away', () => {
  it.each([
    ['before the answer', {}],
    ['within the stream', { stream: true, partial_images: 3 }],
  ])('frees the services %s', async (_, options) => {
    const door = await start();
    const [sampler, decoder] = [door.samplers[0]!, door.decoders[0]!];
    let stepsAfter = 0;
    sampler.switches.before = () => {
      if (control.signal.aborted) stepsAfter++;
      return pause(20);
    };
    const control = new AbortController();
    const answer = door.post(IMAGES, { ...REQUEST, ...options }, { signal: control.signal });
    answer.catch(() => undefined);
    await until('the sampler runs', () => sampler.switches.running === 1 && decoder.switches.running > 0);
    control.abort();
    await until('all are free', () => sampler.switches.running + decoder.switches.running === 0);
    // Steps, not time, which another process may take away: 100 ms of them at most, of 300 that were left.
    expect(stepsAfter).toBeLessThanOrEqual(5);
    expect(sampler.switches.cancelled).toBe(1);
    await until('the answer is noted', async () =>
      /clip_gen_http_requests_total\{route="\/v1\/images\/generations",status="(499|200)"\} 1/.test(
        await door.gateway.metrics.text(),
      ),
    );
    sampler.switches.before = () => undefined;
    await dataOf(await door.post(IMAGES, REQUEST));
  });

  it('or reads nothing does not hold others up', async () => {
    const door = await start(['--max-in-flight=1', '--max-waiting=1']);
    const body = JSON.stringify({ ...REQUEST, n: 5, size: '2048x2048', stream: true });
    const socket = connectSocket(door.gateway.httpPort, '127.0.0.1');
    socket.pause();
    socket.write(
      `POST ${IMAGES} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`,
    );
    await until('its work is done', async () =>
      /clip_gen_generation_stage_seconds_count\{stage="finished"\} 1/.test(await door.gateway.metrics.text()),
    );
    await dataOf(await door.post(IMAGES, REQUEST));
    socket.destroy();
  });
});
