import { ClipGenError } from '@clip-gen/errors';
import { connect } from 'node:net';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it, onTestFinished } from 'vitest';
import {
  acceptRequestId,
  createLogger,
  currentRequestId,
  loggerFor,
  Metrics,
  newRequestId,
  shownTogether,
  startMetricsServer,
  withRequestId,
  type LoggerOptions,
} from './index.ts';

/** A logger whose lines can be read. */
function recording(options: Partial<LoggerOptions> = {}) {
  const lines: string[] = [];
  const logger = createLogger({ service: 'sampler', destination: { write: (line) => lines.push(line) }, ...options });
  return { logger, lines, entries: () => lines.map((line) => JSON.parse(line) as Record<string, unknown>) };
}

describe('request ids', () => {
  it('are there across awaits, timers and callbacks, each request with its own', async () => {
    const work = async () => {
      const before = currentRequestId();
      await sleep(5);
      const after = await new Promise((resolve) => setImmediate(() => resolve(currentRequestId())));
      return [before, after];
    };
    expect(currentRequestId()).toBeUndefined();
    const all = await Promise.all(['a', 'b-2', 'C_3'].map((id) => withRequestId(id, work)));
    expect(all).toEqual([
      ['a', 'a'],
      ['b-2', 'b-2'],
      ['C_3', 'C_3'],
    ]);
    expect(currentRequestId()).toBeUndefined();
  });

  it.each([undefined, '', 'a b', 'a\nb', 'x'.repeat(65), 'ü', '"', '../x'])('replace %j', (id) => {
    expect(acceptRequestId(id)).toMatch(/^[0-9a-f-]{36}$/);
  });

  it('are kept where they are good, and never twice the same where new', () => {
    expect(acceptRequestId('x'.repeat(64))).toHaveLength(64);
    expect(newRequestId()).not.toBe(newRequestId());
  });
});

describe('createLogger', () => {
  it('writes a line of JSON with service, time, level and the request', () => {
    const { logger, entries, lines } = recording();
    withRequestId('r1', () => logger.info({ tokens: 16 }, 'sampled'));
    logger.child({ peer: 'x' }).warn('slow');
    expect(entries()).toEqual([
      { level: 'info', time: expect.any(String), service: 'sampler', requestId: 'r1', tokens: 16, msg: 'sampled' },
      { level: 'warn', time: expect.any(String), service: 'sampler', peer: 'x', msg: 'slow' },
    ]);
    expect(new Date(String(entries()[0]?.['time'])).toISOString()).toBe(entries()[0]?.['time']);
    for (const line of lines) expect(line).toMatch(/^[^\n]*\n$/);
  });

  it('writes lines of another service, each with one name', () => {
    const { logger, lines, entries } = recording();
    const other = loggerFor('decoder', logger);
    other.info({ port: 1 }, 'listening');
    loggerFor('gateway', other).child({ peer: 'x' }).warn('away');
    logger.info('still here');
    expect(entries().map(({ service }) => service)).toEqual(['decoder', 'gateway', 'sampler']);
    for (const line of lines) expect(line.match(/"service"/g)).toHaveLength(1);
  });

  it('writes errors with code and stack', () => {
    const { logger, entries } = recording();
    logger.error({ err: new ClipGenError('data_corrupt', 'cut short') }, 'cannot load');
    expect(entries()[0]?.['err']).toMatchObject({
      code: 'data_corrupt',
      message: 'cut short',
      stack: expect.any(String),
    });
  });

  it('is as quiet as it is told', () => {
    const { logger, lines } = recording({ level: 'warn' });
    logger.info('no');
    logger.error('yes');
    expect(lines).toHaveLength(1);
    const silent = recording({ level: 'silent' });
    silent.logger.fatal('no');
    expect(silent.lines).toEqual([]);
  });

  it('writes for people', () => {
    const { logger, lines } = recording({ format: 'pretty' });
    withRequestId('r1', () => logger.info({ port: 50052, tls: { on: false } }, 'listening'));
    logger.error({ err: new Error('broken') }, 'failed');
    expect(lines[0]).toMatch(
      /^\d\d:\d\d:\d\d\.\d{3} info {2}sampler listening requestId=r1 port=50052 tls=\{"on":false\}\n$/,
    );
    expect(lines[1]).toMatch(/ error sampler failed\n {2}Error: broken\n {6}at /);
  });

  it('lets no word of a stranger begin a line or command the terminal', () => {
    const { logger, lines } = recording({ format: 'pretty' });
    logger.info({ name: 'x\n00:00:00.000 info  forged', list: ['\u009b2J'] }, '\u001b[2Jgone\u007f');
    expect(lines[0]).toMatch(/ sampler \\u001b\[2Jgone\\u007f name=x\\n00:\S+ info {2}forged list=\["\\u009b2J"\]\n$/);
    logger.error({ err: new Error('\u001b]0;title\u0007') }, 'failed');
    expect(lines[1]).toContain('\n  Error: \\u001b]0;title\\u0007\n');
  });

  it.each([
    [true, /^\d\d:\d\d:\d\d\.\d{3} info {2}sampler here\n$/],
    [false, /^\{"level":"info".*"msg":"here"\}\n$/],
  ])('chooses by itself: for eyes on a terminal (%s), JSON elsewhere', (isTTY, line) => {
    const usual = Object.getOwnPropertyDescriptor(process.stdout, 'isTTY');
    Object.defineProperty(process.stdout, 'isTTY', { value: isTTY, configurable: true });
    try {
      const { logger, lines } = recording({ format: 'auto' });
      logger.info('here');
      expect(lines[0]).toMatch(line);
    } finally {
      if (usual) Object.defineProperty(process.stdout, 'isTTY', usual);
      else Reflect.deleteProperty(process.stdout, 'isTTY');
    }
  });
});

describe('Metrics', () => {
  it('counts, gauges and measures, in Prometheus text', async () => {
    const metrics = new Metrics({ process: false });
    const counter = metrics.counter({ name: 'clip_gen_tokens_total', help: 'Tokens.', labels: ['model'] });
    counter.inc({ model: 'a' }, 3);
    metrics.gauge({ name: 'clip_gen_slots', help: 'Slots.', collect: () => 7 });
    const seconds = metrics.histogram({ name: 'clip_gen_step_seconds', help: 'Steps.', buckets: [0.1, 1] });
    seconds.observe(0.5);
    const text = await metrics.text();
    expect(text).toContain('# HELP clip_gen_tokens_total Tokens.');
    expect(text).toContain('clip_gen_tokens_total{model="a"} 3');
    expect(text).toContain('clip_gen_slots 7');
    expect(text).toContain('clip_gen_step_seconds_bucket{le="0.1"} 0');
    expect(text).toContain('clip_gen_step_seconds_bucket{le="1"} 1');
    expect(text).not.toContain('process_cpu');
  });

  it('stands alone, and tells of the process unless told not to', async () => {
    const [a, b] = [new Metrics(), new Metrics({ process: false })];
    a.counter({ name: 'x_total', help: 'x' }).inc();
    expect(await a.text()).toMatch(/process_resident_memory_bytes \d+/);
    expect(await b.text()).not.toContain('x_total');
  });

  it('gives the same metric for the same declaration, and refuses another of the same name', async () => {
    const metrics = new Metrics({ process: false });
    const declare = () => metrics.counter({ name: 'x_total', help: 'x', labels: ['a'] });
    declare().inc({ a: '1' });
    declare().inc({ a: '1' });
    expect(await metrics.text()).toContain('x_total{a="1"} 2');
    expect(() => metrics.counter({ name: 'x_total', help: 'x', labels: ['b'] })).toThrow('declared twice');
    expect(() => metrics.gauge({ name: 'x_total', help: 'x', labels: ['a'] })).toThrow('declared twice');
  });

  it('of several services are one text, each series with its service', async () => {
    const whole = new Metrics({ process: false });
    whole.gauge({ name: 'up', help: 'Here.', collect: () => 1 });
    const services = ['sampler', 'decoder', 'idle'].map((service) => new Metrics({ process: false, service }));
    const [sampler, decoder] = services;
    for (const metrics of services) metrics.counter({ name: 'x_total', help: 'Things.', labels: ['kind'] });
    sampler!.counter({ name: 'x_total', help: 'Things.', labels: ['kind'] }).inc({ kind: 'a' }, 2);
    decoder!.counter({ name: 'x_total', help: 'Things.', labels: ['kind'] }).inc({ kind: 'a' });
    decoder!.histogram({ name: 's_seconds', help: 'Steps.', buckets: [1] }).observe(3);
    const shown = shownTogether([whole, ...services]);
    expect(shown.contentType).toBe(whole.contentType);
    expect((await shown.text()).split('\n')).toEqual([
      '# HELP up Here.',
      '# TYPE up gauge',
      'up 1',
      '',
      '# HELP x_total Things.',
      '# TYPE x_total counter',
      'x_total{kind="a",service="sampler"} 2',
      'x_total{kind="a",service="decoder"} 1',
      '',
      '# HELP s_seconds Steps.',
      '# TYPE s_seconds histogram',
      's_seconds_bucket{le="1",service="decoder"} 0',
      's_seconds_bucket{le="+Inf",service="decoder"} 1',
      's_seconds_sum{service="decoder"} 3',
      's_seconds_count{service="decoder"} 1',
      '',
    ]);
  });

  it('describes itself as a table', () => {
    const metrics = new Metrics();
    metrics.gauge({ name: 'b', help: 'Second.' });
    metrics.counter({ name: 'a_total', help: 'First.', labels: ['x', 'y'] });
    expect(metrics.describe().split('\n')).toEqual([
      '| metric    | kind    | labels   | what it tells |',
      '| --------- | ------- | -------- | ------------- |',
      '| `a_total` | counter | `x`, `y` | First.        |',
      '| `b`       | gauge   |          | Second.       |',
    ]);
  });
});

describe('startMetricsServer', () => {
  async function start(ready: () => boolean) {
    const metrics = new Metrics({ process: false });
    metrics.counter({ name: 'x_total', help: 'x' }).inc(4);
    const server = await startMetricsServer({ address: '127.0.0.1:0', metrics, ready });
    onTestFinished(() => server.close());
    return {
      port: server.port,
      get: (path: string, method = 'GET') => fetch(`http://127.0.0.1:${server.port}${path}`, { method }),
    };
  }

  it('serves metrics and the two probes', async () => {
    let ready = false;
    const { get } = await start(() => ready);
    const metrics = await get('/metrics');
    expect(metrics.headers.get('content-type')).toMatch(/^text\/plain; version=0\.0\.4/);
    expect(await metrics.text()).toContain('x_total 4');
    expect((await get('/healthz')).status).toBe(200);
    expect((await get('/readyz')).status).toBe(503);
    ready = true;
    expect((await get('/readyz?verbose')).status).toBe(200);
    expect(await (await get('/readyz', 'HEAD')).text()).toBe('');
  });

  it.each([
    ['/', 'GET', 404],
    ['/metrics/x', 'GET', 404],
    ['/metrics', 'POST', 405],
    ['/readyz', 'DELETE', 405],
  ])('answers %s %s with %d', async (path, method, status) => {
    const { get } = await start(() => true);
    expect((await get(path, method)).status).toBe(status);
  });

  it('is not troubled by garbage, nor by a probe that breaks', async () => {
    const { port, get } = await start(() => {
      throw new Error('broken');
    });
    const socket = connect(port, '127.0.0.1');
    socket.on('error', () => undefined).resume();
    await once(socket, 'connect');
    socket.write(Buffer.alloc(100_000, 0xfe));
    await once(socket, 'close');
    expect((await get('/readyz')).status).toBe(500);
    expect((await get('/metrics')).status).toBe(200);
  });

  it.each(['', 'localhost', 'localhost:', 'x:99999', '::1:9090'])('refuses the address %j', async (address) => {
    const options = { address, metrics: new Metrics({ process: false }), ready: () => true };
    await expect(startMetricsServer(options)).rejects.toMatchObject({ code: 'invalid_argument' });
  });

  it('says when the port is taken, and frees it', async () => {
    const options = { address: '127.0.0.1:0', metrics: new Metrics({ process: false }), ready: () => true };
    const first = await startMetricsServer(options);
    const again = { ...options, address: `127.0.0.1:${first.port}` };
    await expect(startMetricsServer(again)).rejects.toMatchObject({ code: 'unavailable' });
    await first.close();
    await (await startMetricsServer(again)).close();
  });
});
