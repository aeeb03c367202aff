import { once } from 'node:events';
import { get } from 'node:http';
import { connect as connectSocket, createServer } from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';
import { GenerateRequest } from '@clip-gen/contracts';
import { ClipGenError } from '@clip-gen/errors';
import { grpcFrame, rawGrpcCall } from '@clip-gen/testing';
import { describe, expect, it, onTestFinished } from 'vitest';
import { dataOf, openTestGateway, readEvents, startQuietGateway, until } from './test-gateway.ts';

const IMAGES = '/v1/images/generations';
const REQUEST = { prompt: 'a red apple', seed: 7, candidates: 5, n: 3 };
const REQUEST_OF_GRPC = { ...REQUEST, seed: 7n };
const NOBODY = { embedding: '127.0.0.1:9', sampler: '127.0.0.1:9', decoders: 'vqgan=127.0.0.1:9' };

/** Something that a test waits for and lets go. */
function gate() {
  let open: () => void = () => undefined;
  const opening = new Promise<void>((resolve) => (open = resolve));
  return { opening, open };
}

describe('more than the gateway takes', () => {
  it('is told to come back, and what was accepted is finished', async () => {
    const door = await openTestGateway(['--max-in-flight=1', '--max-waiting=2']);
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
    const finished = await Promise.all(answers.filter(({ status }) => status === 200).map(dataOf));
    expect(finished).toHaveLength(3);
    expect(new Set(finished.map((pictures) => JSON.stringify(pictures))).size).toBe(1);
  });

  it('leaves the queue when its client goes', async () => {
    const door = await openTestGateway(['--max-in-flight=1', '--max-waiting=1']);
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
    await dataOf(await first);
    await dataOf(await next);
    expect(switches.calls).toBe(2);
  });
});

describe('more texts than the gateway takes', () => {
  it('wait and are refused by themselves: pictures go on', async () => {
    const door = await openTestGateway(['--max-in-flight=1', '--max-waiting=2']);
    const { opening, open } = gate();
    const { switches } = door.embedding;
    switches.before = () => opening;
    const texts = (init?: RequestInit): Promise<Response> => door.post('/v1/embeddings', { input: 'a cat' }, init);
    const first = texts();
    await until('one is at work', () => switches.running === 1);
    const flood = Array.from({ length: 8 }, () => texts());
    const answers: Response[] = [];
    for (const answer of flood) void answer.then((response) => answers.push(response));
    await until('the rest is refused', () => answers.length === 6);
    for (const { status, headers } of answers) {
      expect(status).toBe(429);
      expect(Number(headers.get('retry-after'))).toBeGreaterThanOrEqual(1);
    }
    expect(switches.running).toBe(1); // the service never sees the flood
    switches.before = () => undefined;
    await dataOf(await door.post(IMAGES, REQUEST));
    open();
    expect((await first).status).toBe(200);
    const statuses = (await Promise.all(flood)).map(({ status }) => status);
    expect(statuses.filter((status) => status === 200)).toHaveLength(2);
  });

  it('end in time', async () => {
    const door = await openTestGateway(['--request-timeout-ms=200']);
    const { opening, open } = gate();
    door.embedding.switches.before = () => opening;
    const response = await door.post('/v1/embeddings', { input: 'a cat' });
    expect(response.status).toBe(504);
    expect(JSON.stringify(await response.json())).toContain('the request took longer than 200 ms');
    open();
  });
});

describe('more than a service takes', () => {
  it('is told to come back when the service says', async () => {
    const door = await openTestGateway();
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
    const { gateway } = await startQuietGateway(NOBODY, ['--max-connections=2']);
    onTestFinished(() => gateway.close());
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
    const door = await openTestGateway();
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
    const door = await openTestGateway(['--request-timeout-ms=300']);
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
    const door = await openTestGateway(['--request-timeout-ms=400']);
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
    const door = await openTestGateway();
    door.samplers[0]!.switches.before = () => pause(20);
    const running = door.post(IMAGES, REQUEST);
    await until('one runs', () => door.samplers[0]!.switches.running === 1);
    const drained = door.gateway.drain();
    const late = await door.post(IMAGES, REQUEST).then(
      ({ status }) => status,
      () => 'refused',
    );
    expect([503, 'refused']).toContain(late);
    await dataOf(await running);
    const answeredMs = performance.now();
    await drained;
    expect(performance.now() - answeredMs).toBeLessThan(5000); // not for idle connections
    await expect(door.post(IMAGES, REQUEST)).rejects.toThrow();
  });

  it('does not wait for ever', async () => {
    const door = await openTestGateway(['--drain-ms=100']);
    door.samplers[0]!.switches.before = () => pause(200);
    const running = door.post(IMAGES, REQUEST);
    await until('one runs', () => door.samplers[0]!.switches.running === 1);
    await door.gateway.drain();
    expect((await running).status).toBe(503);
  });
});

describe('keys', () => {
  it('open what is behind /v1/ and gRPC, and nothing shows them', async () => {
    const door = await openTestGateway(['--api-keys=first-key,second-key']);
    const refused = await door.post(IMAGES, REQUEST);
    expect(refused.status).toBe(401);
    expect(await refused.json()).toMatchObject({ error: { code: 'invalid_api_key' } });
    const wrong = await door.post(IMAGES, REQUEST, { headers: { authorization: 'Bearer third-key' } });
    expect(wrong.status).toBe(401);
    await dataOf(await door.post(IMAGES, REQUEST, { headers: { authorization: 'Bearer second-key' } }));
    for (const path of ['/', '/healthz', '/readyz', '/metrics', '/openapi.json']) {
      expect((await fetch(door.url + path)).status).toBe(200);
    }
    await expect(door.grpc.client.listDecoders({})).rejects.toThrow('authorization must be');
    await expect(door.grpc.client.generate(REQUEST_OF_GRPC)[Symbol.asyncIterator]().next()).rejects.toThrow(
      'authorization must be',
    );
    expect(JSON.stringify(door.log)).not.toMatch(/(first|second|third)-key/);
  });

  it.each(['/v1/models', '/%761/models', '/v%31/%6dodels/clip-gen', 'http://elsewhere/v1/models', '/v1/nowhere'])(
    'are asked for however the path is spelt: %s',
    async (path) => {
      const door = await openTestGateway(['--api-keys=first-key']);
      const ask = (headers = {}): Promise<number | undefined> =>
        new Promise((resolve, reject) => {
          const asked = get({ host: '127.0.0.1', port: door.gateway.httpPort, path, headers, agent: false });
          asked.on('response', (answer) => resolve(answer.resume().statusCode)).on('error', reject);
        });
      expect(await ask()).toBe(401);
      expect(await ask({ authorization: 'Bearer first-key' })).toBe(path.includes('nowhere') ? 404 : 200);
    },
  );
});

it('says which address cannot be had, and leaves nothing open', async () => {
  const taken = createServer().listen(0, '127.0.0.1');
  await once(taken, 'listening');
  onTestFinished(() => void taken.close());
  const { port } = taken.address() as { port: number };
  for (const door of ['http-address', 'address', 'metrics-address']) {
    await expect(startQuietGateway(NOBODY, [`--${door}=127.0.0.1:${port}`])).rejects.toMatchObject({
      code: 'unavailable',
      message: expect.stringContaining(`cannot listen on --${door} 127.0.0.1:${port}: the port is in use`),
    });
  }
});
