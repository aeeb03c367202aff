import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { readSettings } from '@clip-gen/config';
import { SampleRequest, TransformerSamplerDefinition, type SampleResponse, type TokenEvent } from '@clip-gen/contracts';
import { openGptPart, TokenSampler, writeTinyModel } from '@clip-gen/generation';
import type { Running } from '@clip-gen/service';
import { connect } from '@clip-gen/serving';
import { grpcFrame, rawGrpcCall, temporaryFolder } from '@clip-gen/testing';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { SAMPLER_SETTINGS } from './config.ts';
import { startSampler } from './start-sampler.ts';

const E = 16;
/** Tokens of a grid: many, so that a call lasts. */
const T = 1024;

let model: string;
let sampler: TokenSampler;
beforeAll(async () => {
  model = join(await temporaryFolder(), 'model');
  await writeTinyModel(model, { tokens: T, codebookSize: 300 });
  sampler = await TokenSampler.open(await openGptPart(join(model, 'gpt')), { threads: 1 });
});
afterAll(() => sampler.close());

const open: { close(): Promise<void> | void }[] = [];
afterEach(async () => {
  for (const thing of open.splice(0).reverse()) await thing.close();
});

async function start(...flags: string[]) {
  const argv = ['--model', model, '--address', '127.0.0.1:0', '--metrics-address', '127.0.0.1:0', '--threads', '1'];
  const settings = readSettings(SAMPLER_SETTINGS, { argv: [...argv, '--log-level', 'silent', ...flags], env: {} });
  const running = await startSampler(settings);
  open.push(running);
  return { running, client: connectTo(running) };
}

function connectTo(running: Running, deadlineMs = 60_000) {
  const addresses = [`127.0.0.1:${running.port}`];
  const connection = connect(TransformerSamplerDefinition, { addresses, name: 'sampler', deadlineMs });
  open.push(connection);
  return connection.client;
}

function unit(seed: number): number[] {
  const vector = Float32Array.from({ length: E }, (_, i) => Math.sin(seed * 97 + i * 13));
  const length = Math.hypot(...vector);
  return Array.from(vector, (value) => Math.fround(value / length));
}

const request = (change: Partial<SampleRequest> = {}): SampleRequest =>
  SampleRequest.create({ conditions: [{ values: unit(1) }], candidates: 1, seed: 7n, ...change });

async function collect(events: AsyncIterable<SampleResponse>): Promise<SampleResponse[]> {
  const all: SampleResponse[] = [];
  for await (const event of events) all.push(event);
  return all;
}

function tokenEvents(events: readonly SampleResponse[]): TokenEvent[] {
  return events.flatMap(({ event }) => (event?.$case === 'tokens' ? [event.value] : []));
}

/** Reads until the first tokens have come. */
async function firstTokens(events: AsyncIterator<SampleResponse>): Promise<void> {
  for (;;) {
    const { value, done } = await events.next();
    if (done) throw new RangeError('the stream ended before its tokens');
    if (value.event?.$case === 'tokens') return;
  }
}

/** Reads to the end. */
async function rest(events: AsyncIterator<SampleResponse>): Promise<void> {
  while (!(await events.next()).done);
}

describe('Sample', () => {
  it('streams the tokens that the model draws in this process, bit for bit', async () => {
    const { client } = await start();
    const conditions = [unit(1), unit(2), unit(3)];
    const events = await collect(
      client.sample(
        request({
          conditions: conditions.map((values) => ({ values })),
          candidates: 2,
          firstCandidate: 3,
          sampling: { temperature: 0.7, topK: 100, topP: 0.95, guidance: 1.3 },
        }),
      ),
    );
    expect(events[0]?.event).toMatchObject({ $case: 'started', value: { gridTokens: T, codebookSize: 300 } });
    expect(events.at(-1)?.event).toMatchObject({ $case: 'finished', value: { tokens: 6 * T } });
    const got = tokenEvents(events);
    expect(got).toHaveLength(3 * T);
    const sampling = { temperature: 0.7, topK: 100, topP: 0.95, guidance: 1.3 };
    for (const [condition, values] of conditions.entries()) {
      const wanted: TokenEvent[] = [];
      const asked = { ...sampling, seed: 7, candidates: 2, firstCandidate: 3 };
      for await (const [step] of sampler.sampleSteps([Float32Array.from(values)], asked)) {
        wanted.push({ ...step!, condition, positions: 1, tokens: Array.from(step!.tokens) });
      }
      expect(got.filter((event) => event.condition === condition)).toEqual(wanted);
    }
  });

  it('gathers as many positions in an event as the caller wants, and the rest in the last', async () => {
    const { client } = await start();
    const asked = request({ candidates: 2, conditions: [{ values: unit(1) }, { values: unit(2) }] });
    const single = tokenEvents(await collect(client.sample(asked)));
    for (const positionsPerEvent of [3, T, 100]) {
      const gathered = tokenEvents(await collect(client.sample({ ...asked, positionsPerEvent })));
      expect(gathered).toHaveLength(2 * Math.ceil(T / positionsPerEvent));
      for (const condition of [0, 1]) {
        const tokens = (of: readonly TokenEvent[]) => of.filter((event) => event.condition === condition);
        expect(tokens(gathered).flatMap((event) => event.tokens)).toEqual(tokens(single).flatMap(({ tokens: t }) => t));
        expect(tokens(gathered).map(({ position, positions }) => [position, positions])).toEqual(
          Array.from({ length: Math.ceil(T / positionsPerEvent) }, (_, i) => {
            return [i * positionsPerEvent, Math.min(positionsPerEvent, T - i * positionsPerEvent)];
          }),
        );
      }
    }
  });

  it('gives the same tokens whatever else runs', async () => {
    const { client } = await start('--concurrency', '3');
    const asked = request({ candidates: 3, sampling: { temperature: 1, topP: 0.9 } });
    const alone = tokenEvents(await collect(client.sample(asked)));
    const others = Array.from({ length: 5 }, (_, i) =>
      collect(client.sample(request({ seed: BigInt(i), candidates: 1 + i, conditions: [{ values: unit(i) }] }))),
    );
    const [again, ...rest] = await Promise.all([collect(client.sample(asked)), ...others]);
    expect(tokenEvents(again)).toEqual(alone);
    expect(rest.every((events) => events.at(-1)?.event?.$case === 'finished')).toBe(true);
  });

  it('says what is served', async () => {
    const { client } = await start();
    const { weightsSha256, defaults, ...sizes } = await client.getSampler({});
    expect(sizes).toEqual({ conditionSize: E, gridTokens: T, codebookSize: 300, defaultCandidates: 16 });
    expect(weightsSha256).toMatch(/^[0-9a-f]{64}$/);
    expect(defaults).toMatchObject({ temperature: 1, topK: 300, guidance: 1 });
    const [started] = await collect(client.sample(request({ sampling: { topK: 5 } })));
    expect(started?.event).toMatchObject({ value: { sampling: { ...defaults, topK: 5 } } });
    // To the last bit: what a float would round draws other tokens than a process by itself.
    const exact = { temperature: 0.1 + 0.2, topK: 300, topP: 0.95, guidance: 1.7000000000000002 };
    const [precise] = await collect(client.sample(request({ sampling: exact })));
    expect(precise?.event).toMatchObject({ value: { sampling: exact } });
  });

  it("draws as the model's generation.json says, also where the transformer's own folder is named", async () => {
    const path = join(model, 'generation.json');
    await writeFile(path, JSON.stringify({ topK: 40, topP: 0.9, guidance: 1.7, candidates: 5 }));
    try {
      const { client } = await start();
      const argv = ['--model', join(model, 'gpt'), '--address', '127.0.0.1:0', '--metrics-address', '127.0.0.1:0'];
      const settings = readSettings(SAMPLER_SETTINGS, { argv: [...argv, '--log-level', 'silent'], env: {} });
      const running = await startSampler(settings);
      open.push(running);
      const [whole, part] = await Promise.all([client.getSampler({}), connectTo(running).getSampler({})]);
      expect(part).toEqual(whole);
      expect(whole).toMatchObject({
        defaults: { temperature: 1, topK: 40, topP: 0.9, guidance: 1.7 },
        defaultCandidates: 5,
      });
      const other = join(model, 'other.json');
      await writeFile(other, JSON.stringify({ temperature: 0.3 }));
      const { client: told } = await start('--generation-defaults', other);
      expect(await told.getSampler({})).toMatchObject({
        defaults: { temperature: 0.3, topK: 300, topP: 0.95, guidance: 1 },
        defaultCandidates: 16,
      });
      await expect(start('--generation-defaults', `${other}x`)).rejects.toMatchObject({ code: 'not_found' });
    } finally {
      await rm(path);
    }
  });

  it('refuses what is out of bounds, before any work', async () => {
    const { client, running } = await start('--max-grids', '64');
    const values = unit(1);
    const cases: readonly (readonly [Partial<SampleRequest>, string])[] = [
      [{ conditions: [] }, 'conditions must be 1 to 16 embeddings; got 0'],
      [{ conditions: Array.from({ length: 17 }, () => ({ values })) }, 'conditions must be 1 to 16 embeddings; got 17'],
      [{ conditions: [{ values: values.slice(1) }] }, 'conditions[0].values must be 16 numbers; got 15'],
      [{ conditions: [{ values: values.map((x) => 2 * x) }] }, 'conditions[0] must be of length 1'],
      [{ conditions: [{ values }, { values: values.map(() => NaN) }] }, 'conditions[1] must be of length 1; got NaN'],
      [{ candidates: 65 }, 'candidates must be in [1, 64]; got 65'],
      [{ candidates: 33, conditions: [{ values }, { values }] }, 'conditions · candidates must be at most 64; got 66'],
      [{ seed: 1n << 53n }, 'seed must be an integer in [0, 2^53); got 9007199254740992'],
      [{ firstCandidate: 2 ** 31 }, 'firstCandidate must be in [0, 2^31); got 2147483648'],
      [{ sampling: { topK: 0 } }, 'topK must be in [1, 300]; got 0'],
      [{ sampling: { topK: 301 } }, 'topK must be an integer in [1, 300]'],
      [{ sampling: { temperature: -1 } }, 'temperature must be in'],
      [{ sampling: { topP: 0 } }, 'topP must be in (0, 1]; got 0'],
      [{ sampling: { guidance: NaN } }, 'guidance must be in'],
    ];
    for (const [change, message] of cases) {
      await expect(collect(client.sample(request(change))), message).rejects.toMatchObject({
        code: 'invalid_argument',
        message: expect.stringContaining(message),
      });
    }
    expect(await running.metrics.text()).toContain('clip_gen_sampler_tokens_total 0');
  });

  it('survives damaged and oversized messages', async () => {
    const { client, running } = await start('--max-receive-bytes', '4096');
    const path = '/clipgen.v1.TransformerSampler/Sample';
    const whole = SampleRequest.encode(request()).finish();
    for (const body of [Buffer.from('no message at all'), whole.subarray(0, -1), Buffer.alloc(100, 0xff)]) {
      const { status } = await rawGrpcCall(running.port, path, grpcFrame(body));
      expect([3, 13]).toContain(status);
    }
    expect((await rawGrpcCall(running.port, path, grpcFrame(Buffer.alloc(5000)))).status).toBe(8);
    expect((await rawGrpcCall(running.port, path, grpcFrame(whole).subarray(0, 9))).status).not.toBe(0);
    expect((await rawGrpcCall(running.port, path, grpcFrame(whole))).status).toBe(0);
    expect((await client.getSampler({})).gridTokens).toBe(T);
  });
});

describe('a caller who goes', () => {
  it('frees the sampler within 100 ms', async () => {
    const { client } = await start('--concurrency', '1');
    const times: number[] = [];
    for (let attempt = 0; attempt < 3 && !(Math.min(...times) < 100); attempt++) {
      const controller = new AbortController();
      const long = client.sample(request({ candidates: 200 }), { signal: controller.signal })[Symbol.asyncIterator]();
      await firstTokens(long);
      const next = client.sample(request())[Symbol.asyncIterator]();
      const begun = firstTokens(next);
      await sleep(50); // it waits for its turn
      const since = performance.now();
      controller.abort();
      await begun;
      times.push(performance.now() - since);
      await expect(rest(long)).rejects.toMatchObject({ name: expect.stringMatching(/AbortError|ClipGenError/) });
      await next.return?.();
    }
    expect(Math.min(...times)).toBeLessThan(100);
  });

  it('leaves the queue', async () => {
    const { client } = await start('--queue-limit', '1');
    const stop = new AbortController();
    const long = client.sample(request({ candidates: 200 }), { signal: stop.signal })[Symbol.asyncIterator]();
    await firstTokens(long);
    const controller = new AbortController();
    const waiting = collect(client.sample(request(), { signal: controller.signal }));
    await sleep(50);
    await expect(collect(client.sample(request()))).rejects.toMatchObject({ code: 'resource_exhausted' });
    controller.abort();
    await expect(waiting).rejects.toThrow();
    await sleep(50);
    const place = collect(client.sample(request())); // taken by this one now
    await sleep(20);
    stop.abort();
    expect((await place).at(-1)?.event?.$case).toBe('finished');
  });

  it('may be a deadline that passes', async () => {
    const { running, client: patient } = await start();
    const hurried = connectTo(running, 200);
    await expect(collect(hurried.sample(request({ candidates: 256 })))).rejects.toMatchObject({
      code: 'deadline_exceeded',
    });
    expect(await collect(patient.sample(request()))).toHaveLength(T + 2);
  });
});

describe('a slow reader', () => {
  it('pauses the sampler, and loses its turn when that lasts', async () => {
    const { client, running } = await start('--buffer-tokens', '500', '--stall-ms', '300');
    const slow = client.sample(request({ candidates: 256 }))[Symbol.asyncIterator]();
    await firstTokens(slow);
    const next = await collect(client.sample(request())); // waits until the slow one has lost its turn
    expect(next).toHaveLength(T + 2);
    const reading = async (): Promise<number> => {
      for (let tokens = 0; ;) {
        const { value, done } = await slow.next();
        if (done) return tokens;
        tokens += tokenEvents([value])[0]?.tokens.length ?? 0;
      }
    };
    await expect(reading()).rejects.toMatchObject({
      code: 'resource_exhausted',
      message: expect.stringContaining('must be read faster'),
    });
    const stalled = /^clip_gen_sampler_stalled_seconds_total (\S+)$/m.exec(await running.metrics.text());
    expect(Number(stalled?.[1])).toBeGreaterThan(0.29);
  });

  it('gets all of an answer that fits into the buffer, without holding its turn', async () => {
    const { client } = await start('--buffer-tokens', String(64 * T), '--stall-ms', '0');
    const slow = client.sample(request({ candidates: 64 }))[Symbol.asyncIterator]();
    await firstTokens(slow);
    await collect(client.sample(request()));
    let events = 2;
    for (; !(await slow.next()).done;) events++;
    expect(events).toBe(T + 2);
  });
});

describe('more calls than places', () => {
  it('are refused at once with the time to come again; those that were let in finish', async () => {
    const { client } = await start('--queue-limit', '3');
    const calls = Array.from({ length: 12 }, (_, i) =>
      collect(client.sample(request({ candidates: 4, seed: BigInt(i) }))),
    );
    const outcomes = await Promise.allSettled(calls);
    const done = outcomes.flatMap((outcome) => (outcome.status === 'fulfilled' ? [outcome.value] : []));
    const refused = outcomes.flatMap((outcome) => (outcome.status === 'rejected' ? [outcome.reason as unknown] : []));
    expect(done).toHaveLength(4);
    for (const events of done) expect(events.at(-1)?.event).toMatchObject({ value: { tokens: 4 * T } });
    expect(refused).toHaveLength(8);
    for (const error of refused) {
      expect(error).toMatchObject({ code: 'resource_exhausted', retryAfterMs: expect.any(Number) });
    }
  });
});

describe('drain', () => {
  it('lets running and waiting calls end, and takes no new ones', async () => {
    const { client, running } = await start('--drain-ms', '600000'); // however slow the machine is
    const calls = [1, 2, 3].map((seed) => collect(client.sample(request({ seed: BigInt(seed), candidates: 2 }))));
    await vi.waitFor(
      async () => expect(await running.metrics.text()).toContain('clip_gen_queue_waiting{queue="sampler"} 2'),
      { timeout: 30_000, interval: 10 },
    );
    const drained = running.drain();
    for (const events of await Promise.all(calls)) expect(events.at(-1)?.event?.$case).toBe('finished');
    await drained;
    await expect(fetch(`http://127.0.0.1:${running.metricsPort}/healthz`)).rejects.toThrow();
  });

  it('cuts what does not end in time', async () => {
    const { client, running } = await start('--drain-ms', '50');
    const long = client.sample(request({ candidates: 256 }))[Symbol.asyncIterator]();
    await firstTokens(long);
    const since = performance.now();
    await running.drain();
    expect(performance.now() - since).toBeLessThan(5000);
    await expect(rest(long)).rejects.toMatchObject({ code: expect.stringMatching(/unavailable|cancelled/) });
  });
});

it('does not start with a model that is not there', async () => {
  const argv = [
    '--model',
    '/nowhere',
    '--address',
    '127.0.0.1:0',
    '--metrics-address',
    '127.0.0.1:0',
    '--log-level',
    'silent',
  ];
  const settings = readSettings(SAMPLER_SETTINGS, { argv, env: {} });
  await expect(startSampler(settings)).rejects.toMatchObject({ code: 'not_found' });
});

it('runs as a process that drains on SIGTERM', async () => {
  const bin = fileURLToPath(new URL('../bin/transformer-sampler.js', import.meta.url));
  const flags = ['--model', model, '--address', '127.0.0.1:0', '--metrics-address', '127.0.0.1:0', '--threads', '1'];
  const child = spawn(process.execPath, [bin, ...flags, '--drain-ms', '600000'], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  open.push({ close: () => void child.kill('SIGKILL') });
  const exited = once(child, 'exit');
  const lines: Record<string, unknown>[] = [];
  const serving = new Promise<number>((resolve, reject) => {
    createInterface({ input: child.stdout }).on('line', (line) => {
      const entry = JSON.parse(line) as Record<string, unknown>;
      lines.push(entry);
      if (entry['msg'] === 'serving') resolve(Number(entry['port']));
    });
    child.once('exit', () => reject(new RangeError(JSON.stringify(lines))));
  });
  const connection = connect(TransformerSamplerDefinition, {
    addresses: [`127.0.0.1:${await serving}`],
    name: 'sampler',
    deadlineMs: 60_000,
  });
  open.push(connection);
  const call = connection.client.sample(request({ candidates: 16 }))[Symbol.asyncIterator]();
  await firstTokens(call);
  child.kill('SIGTERM');
  let last: SampleResponse | undefined;
  for (let next = await call.next(); !next.done; next = await call.next()) last = next.value;
  expect(last?.event).toMatchObject({ $case: 'finished', value: { tokens: 16 * T } });
  expect(await exited).toEqual([0, null]);
  expect(lines[0]).toMatchObject({ service: 'transformer-sampler', msg: 'starting', settings: { queueLimit: '32' } });
});
