import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { defineSettings, readSettings } from '@clip-gen/config';
import { ClipGenError } from '@clip-gen/errors';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { readTls } from './read-tls.ts';
import { runService } from './run-service.ts';
import { serviceSettings } from './service-settings.ts';
import { startService, type LoadedService, type Running } from './start-service.ts';

const declared = defineSettings('a-service', serviceSettings({ address: 50_099, metricsAddress: 9099 }));
const argv = ['--address', '127.0.0.1:0', '--metrics-address', '127.0.0.1:0', '--log-level', 'silent'];
const settings = readSettings(declared, { argv, env: {} });

const running: Running[] = [];
afterEach(async () => {
  vi.restoreAllMocks();
  for (const service of running.splice(0)) await service.close();
});

/** A service without models that writes down what happens to it. */
function recorded(failing?: 'load' | 'warmUp'): { readonly events: string[]; load: () => Promise<LoadedService> } {
  const events: string[] = [];
  const happen = (event: 'load' | 'warmUp' | 'close'): Promise<void> => {
    events.push(event);
    return event === failing ? Promise.reject(new ClipGenError('data_corrupt', `${event} failed`)) : Promise.resolve();
  };
  return {
    events,
    load: async () => {
      await happen('load');
      return { services: [], warmUp: () => happen('warmUp'), close: () => happen('close') };
    },
  };
}

const status = async (port: number, path: string): Promise<number> =>
  (await fetch(`http://127.0.0.1:${port}${path}`)).status;

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

describe('startService', () => {
  it('loads, warms up, is ready, and closes once', async () => {
    const { events, load } = recorded();
    const service = await startService({ name: 'a-service', settings, load });
    running.push(service);
    expect(events).toEqual(['load', 'warmUp']);
    expect(service.port).toBeGreaterThan(0);
    expect(await status(service.metricsPort, '/healthz')).toBe(200);
    expect(await status(service.metricsPort, '/readyz')).toBe(200);
    await Promise.all([service.drain(), service.drain()]);
    await service.close();
    expect(events).toEqual(['load', 'warmUp', 'close']);
    await expect(fetch(`http://127.0.0.1:${service.metricsPort}/healthz`)).rejects.toThrow();
  });

  it('is healthy but not ready while it loads', async () => {
    const port = await freePort();
    let loading: () => void = () => undefined;
    const { load } = recorded();
    const started = startService({
      name: 'a-service',
      settings: { ...settings, metricsAddress: `127.0.0.1:${port}` },
      load: async () => {
        await new Promise<void>((resolve) => (loading = resolve));
        return load();
      },
    });
    await vi.waitFor(async () => expect(await status(port, '/healthz')).toBe(200), { timeout: 20_000 });
    expect(await status(port, '/readyz')).toBe(503);
    loading();
    running.push(await started);
    expect(await status(port, '/readyz')).toBe(200);
  });

  it.each([
    ['load', ['load']],
    ['warmUp', ['load', 'warmUp', 'close']],
  ] as const)('closes what was opened when %s fails', async (failing, wanted) => {
    const { events, load } = recorded(failing);
    await expect(startService({ name: 'a-service', settings, load })).rejects.toThrow(`${failing} failed`);
    expect(events).toEqual(wanted);
  });

  it('closes what was opened when its address cannot be had', async () => {
    const first = await startService({ name: 'a-service', settings, load: recorded().load });
    running.push(first);
    const { events, load } = recorded();
    const taken = { ...settings, address: `127.0.0.1:${first.port}` };
    await expect(startService({ name: 'a-service', settings: taken, load })).rejects.toMatchObject({
      code: 'unavailable',
    });
    expect(events).toEqual(['load', 'close']);
  });
});

describe('runService', () => {
  function program(start: () => Promise<Running>) {
    const out = vi.spyOn(process.stdout, 'write').mockReturnValue(true);
    const error = vi.spyOn(process.stderr, 'write').mockReturnValue(true);
    const text = (spy: typeof out): string => spy.mock.calls.map(([line]) => String(line)).join('');
    const run = (...words: string[]) =>
      runService({ settings: declared, intro: 'Does nothing.', start }, { argv: words, env: {} });
    return { run, out: () => text(out), error: () => text(error) };
  }

  it('prints its help', async () => {
    const { run, out } = program(() => Promise.reject(new RangeError('not to be started')));
    expect(await run('--help')).toBe(0);
    expect(out()).toMatch(/^Does nothing\.\n/);
    expect(out()).toContain('--drain-ms <ms>');
  });

  it('explains a command line that cannot be used', async () => {
    const { run, error } = program(() => Promise.reject(new RangeError('not to be started')));
    expect(await run('--queue-limt', '3', '--threads', '-1')).toBe(2);
    expect(error()).toContain('did you mean --queue-limit?');
    expect(error()).toContain('--threads must be an integer in [0, 1024]');
  });

  it('says why it cannot start, with all its settings before', async () => {
    const { run, out } = program(() => Promise.reject(new ClipGenError('not_found', 'no model')));
    expect(await run('--threads', '3')).toBe(1);
    const lines = out()
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as Record<string, unknown>);
    expect(lines[0]).toMatchObject({ service: 'a-service', msg: 'starting', settings: { threads: '3' } });
    expect(lines[1]).toMatchObject({ level: 'error', code: 'not_found', error: 'no model' });
  });
});

describe('readTls', () => {
  it('reads the files that are named, and nothing where none is', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'clip-gen-'));
    try {
      const [tlsCert, tlsKey, tlsClientCa] = ['cert', 'key', 'ca'].map((name) => join(folder, name)) as [
        string,
        string,
        string,
      ];
      await Promise.all([tlsCert, tlsKey, tlsClientCa].map((path) => writeFile(path, `PEM of ${path}`)));
      expect(await readTls({ tlsCert: '', tlsKey: '', tlsClientCa: '' })).toBeUndefined();
      const both = await readTls({ tlsCert, tlsKey, tlsClientCa: '' });
      expect(both).toEqual({ certificate: Buffer.from(`PEM of ${tlsCert}`), key: Buffer.from(`PEM of ${tlsKey}`) });
      const all = await readTls({ tlsCert, tlsKey, tlsClientCa });
      expect(all?.clientAuthority).toEqual(Buffer.from(`PEM of ${tlsClientCa}`));
      await expect(readTls({ tlsCert, tlsKey: '', tlsClientCa: '' })).rejects.toThrow(
        'tlsKey must be given with tlsCert',
      );
      await expect(readTls({ tlsCert: '', tlsKey, tlsClientCa: '' })).rejects.toThrow('tlsCert must be given with');
      await expect(readTls({ tlsCert: `${tlsCert}x`, tlsKey, tlsClientCa: '' })).rejects.toMatchObject({
        code: 'not_found',
      });
    } finally {
      await rm(folder, { recursive: true });
    }
  });
});
