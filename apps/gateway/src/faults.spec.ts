import { once } from 'node:events';
import { connect as connectSocket } from 'node:net';
import { GenerateRequest } from '@clip-gen/contracts';
import { ClipGenError } from '@clip-gen/errors';
import { grpcFrame, rawGrpcCall } from '@clip-gen/testing';
import { afterEach, describe, expect, it } from 'vitest';
import { standInDecoder, standInEmbedding, standInSampler } from './stand-in-services.ts';
import { readEvents, startQuietGateway, startTestGateway, until, type TestGateway } from './test-gateway.ts';

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

/** Something that a test waits for and lets go. */
function gate() {
  let open: () => void = () => undefined;
  const opening = new Promise<void>((resolve) => (open = resolve));
  return { opening, open };
}

async function data(response: Response): Promise<unknown> {
  const answer = (await response.json()) as { data?: unknown };
  expect(response.status, JSON.stringify(answer)).toBe(200);
  return answer.data;
}

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

describe('a replica that goes away under a request', () => {
  it.each(['samplers', 'decoders'] as const)('costs nothing: %s', async (role) => {
    const door = await start([], { replicas: 2 });
    const expected = await data(await door.post(IMAGES, REQUEST));
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
    expect(await data(await door.post(IMAGES, REQUEST))).toEqual(expected);
    expect(killed).toBe(1);
    const calls = replicas.map(({ switches }, i) => switches.calls - before[i]!);
    expect(calls.every((count) => count >= 1)).toBe(true); // the other one took over
    expect(door.log.some(({ msg }) => msg === 'a replica went away: going on')).toBe(true);
    expect(await door.gateway.metrics.text()).toMatch(
      /clip_gen_generation_retries_total\{stage="(sampler|decoder)"\} [1-9]/,
    );
    // What is left serves all that comes.
    expect(await data(await door.post(IMAGES, REQUEST))).toEqual(expected);
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
    const expected = await data(await door.post(IMAGES, REQUEST));
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
    expect(await data(await door.post(IMAGES, REQUEST))).toEqual(expected);
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
    sampler.switches.before = () => pause(20);
    const control = new AbortController();
    const answer = door.post(IMAGES, { ...REQUEST, ...options }, { signal: control.signal });
    answer.catch(() => undefined);
    await until('the sampler runs', () => sampler.switches.running === 1 && decoder.switches.running > 0);
    const hungUpMs = performance.now();
    control.abort();
    await until('all are free', () => sampler.switches.running + decoder.switches.running === 0);
    expect(performance.now() - hungUpMs).toBeLessThan(1000);
    expect(sampler.switches.cancelled).toBe(1);
    await until('the answer is noted', async () =>
      /clip_gen_http_requests_total\{route="\/v1\/images\/generations",status="(499|200)"\} 1/.test(
        await door.gateway.metrics.text(),
      ),
    );
    sampler.switches.before = () => undefined;
    await data(await door.post(IMAGES, REQUEST));
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
    await data(await door.post(IMAGES, REQUEST));
    socket.destroy();
  });
});

describe('more than the gateway takes', () => {
  it('is told to come back, and what was accepted is finished', async () => {
    const door = await start(['--max-in-flight=1', '--max-waiting=2']);
    const { opening, open } = gate();
    door.samplers[0]!.switches.before = () => opening;
    const flood = Array.from({ length: 12 }, () => door.post(IMAGES, REQUEST));
    const early: Response[] = [];
    for (const answer of flood) void answer.then((response) => early.push(response));
    await until('the rest is refused', () => early.length === 9);
    open();
    const answers = await Promise.all(flood);
    const refused = answers.filter(({ status }) => status === 429);
    expect(refused).toHaveLength(9);
    for (const response of refused) {
      expect(Number(response.headers.get('retry-after'))).toBeGreaterThanOrEqual(1);
      expect(await response.json()).toMatchObject({ error: { type: 'rate_limit_error', code: 'rate_limit_exceeded' } });
    }
    const finished = await Promise.all(answers.filter(({ status }) => status === 200).map(data));
    expect(finished).toHaveLength(3);
    expect(new Set(finished.map((pictures) => JSON.stringify(pictures))).size).toBe(1);
  });

  it('leaves the queue when its client goes', async () => {
    const door = await start(['--max-in-flight=1', '--max-waiting=1']);
    const { opening, open } = gate();
    const { switches } = door.samplers[0]!;
    switches.before = () => opening;
    const first = door.post(IMAGES, REQUEST);
    await until('one runs', () => switches.running === 1);
    const control = new AbortController();
    const waiting = door.post(IMAGES, REQUEST, { signal: control.signal });
    waiting.catch(() => undefined);
    await until('the queue is full', async () => (await door.post(IMAGES, REQUEST)).status === 429);
    control.abort();
    await pause(100);
    const next = door.post(IMAGES, REQUEST);
    await pause(50);
    open();
    await data(await first);
    await data(await next);
    expect(switches.calls).toBe(2);
  });
});

describe('more than a service takes', () => {
  it('is told to come back when the service says', async () => {
    const door = await start();
    door.samplers[0]!.switches.before = () => {
      throw new ClipGenError('resource_exhausted', 'too much is waiting', { retryAfterMs: 2500 });
    };
    const response = await door.post(IMAGES, REQUEST);
    expect(response.status).toBe(429);
    expect(response.headers.get('retry-after')).toBe('3');
    expect(door.samplers[0]!.switches.calls).toBe(1); // not asked again before that
  });
});

describe('more connections than the gateway takes', () => {
  it('are closed; the others are served', async () => {
    const nobody = { embedding: '127.0.0.1:9', sampler: '127.0.0.1:9', decoders: 'vqgan=127.0.0.1:9' };
    const { gateway } = await startQuietGateway(nobody, ['--max-connections=2']);
    opened.push(gateway);
    const sockets = [1, 2, 3].map(() => connectSocket(gateway.httpPort, '127.0.0.1'));
    const closed = await new Promise((resolve) => {
      for (const socket of sockets) socket.on('error', () => undefined).once('close', () => resolve(socket));
    });
    const kept = sockets.filter((socket) => socket !== closed);
    for (const socket of kept) {
      socket.write('GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n');
      const [head] = (await once(socket, 'data')) as [Buffer];
      expect(head.toString()).toMatch(/^HTTP\/1\.1 200 /);
      socket.destroy();
    }
    await until('there is room again', () =>
      fetch(`http://127.0.0.1:${gateway.httpPort}/healthz`).then(
        ({ ok }) => ok,
        () => false,
      ),
    );
  });
});

describe('damaged and oversized messages', () => {
  it('end their own call and nothing else', async () => {
    const door = await start();
    const call = async (body: Uint8Array): Promise<number | undefined> =>
      (await rawGrpcCall(door.gateway.port, '/clipgen.v1.ImageGeneration/Generate', grpcFrame(body))).status;
    const whole = GenerateRequest.encode(
      GenerateRequest.fromPartial({ prompt: 'a red apple', candidates: 1 }),
    ).finish();
    for (const body of [Buffer.from('no message at all'), whole.subarray(0, -1), Buffer.alloc(100, 0xff)]) {
      expect([3, 13]).toContain(await call(body));
    }
    expect(await call(Buffer.alloc(70_000))).toBe(8);
    expect(door.samplers[0]!.switches.calls).toBe(0);
    expect(await call(whole)).toBe(0);
  });
});

describe('time', () => {
  it('runs out', async () => {
    const door = await start(['--request-timeout-ms=300']);
    const { switches } = door.samplers[0]!;
    switches.before = () => pause(50);
    const response = await door.post(IMAGES, REQUEST);
    expect(response.status).toBe(504);
    expect(await response.json()).toMatchObject({
      error: { type: 'timeout', message: 'the request took longer than 300 ms' },
    });
    await until('the sampler is free', () => switches.running === 0);
  });

  it('runs out within a stream: the last event is the error', async () => {
    const door = await start(['--request-timeout-ms=400']);
    door.samplers[0]!.switches.before = () => pause(50);
    const response = await door.post(IMAGES, { ...REQUEST, stream: true, partial_images: 3 });
    expect(response.status).toBe(200);
    let last: Record<string, unknown> = {};
    for await (const event of readEvents(response)) last = event;
    expect(last).toMatchObject({ error: { type: 'timeout', code: 'deadline_exceeded' } });
  });
});

describe('the end', () => {
  it('lets running requests finish and takes no more', async () => {
    const door = await start();
    door.samplers[0]!.switches.before = () => pause(20);
    const running = door.post(IMAGES, REQUEST);
    await until('one runs', () => door.samplers[0]!.switches.running === 1);
    const drained = door.gateway.drain();
    const late = await door.post(IMAGES, REQUEST).then(
      ({ status }) => status,
      () => 'refused',
    );
    expect([503, 'refused']).toContain(late);
    await data(await running);
    const answeredMs = performance.now();
    await drained;
    expect(performance.now() - answeredMs).toBeLessThan(5000); // not for idle connections
    await expect(door.post(IMAGES, REQUEST)).rejects.toThrow();
  });

  it('does not wait for ever', async () => {
    const door = await start(['--drain-ms=100']);
    door.samplers[0]!.switches.before = () => pause(200);
    const running = door.post(IMAGES, REQUEST);
    await until('one runs', () => door.samplers[0]!.switches.running === 1);
    await door.gateway.drain();
    expect((await running).status).toBe(503);
  });
});

describe('keys', () => {
  it('open what is behind /v1/ and gRPC, and nothing shows them', async () => {
    const door = await start(['--api-keys=first-key,second-key']);
    const refused = await door.post(IMAGES, REQUEST);
    expect(refused.status).toBe(401);
    expect(await refused.json()).toMatchObject({ error: { code: 'invalid_api_key' } });
    const wrong = await door.post(IMAGES, REQUEST, { headers: { authorization: 'Bearer third-key' } });
    expect(wrong.status).toBe(401);
    await data(await door.post(IMAGES, REQUEST, { headers: { authorization: 'Bearer second-key' } }));
    for (const path of ['/', '/healthz', '/readyz', '/metrics', '/openapi.json']) {
      expect((await fetch(door.url + path)).status).toBe(200);
    }
    await expect(door.grpc.client.listDecoders({})).rejects.toThrow('authorization must be');
    expect(JSON.stringify(door.log)).not.toMatch(/(first|second|third)-key/);
  });
});
