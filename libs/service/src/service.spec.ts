import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { createServer, type AddressInfo } from 'node:net';
import { fileURLToPath } from 'node:url';
import { defineSettings, readSettings } from '@clip-gen/config';
import { ClipGenError } from '@clip-gen/errors';
import { createLogger, Metrics } from '@clip-gen/telemetry';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { readClientTls, readTls } from './read-tls.ts';
import { runService } from './run-service.ts';
import { serviceSettings } from './service-settings.ts';
import { refuseTakenAddresses } from './taken-addresses.ts';
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

const status = async (port: number | undefined, path: string): Promise<number> =>
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

  it('logs and counts where it is told to, and opens no metrics port then', async () => {
    const metrics = new Metrics({ process: false, service: 'one' });
    const lines: string[] = [];
    const logger = createLogger({ service: 'one', destination: { write: (line) => lines.push(line) } });
    const port = await freePort();
    const metricsAddress = `127.0.0.1:${port}`;
    const { load } = recorded();
    let given: unknown;
    const service = await startService({
      ...{ name: 'a-service', settings: { ...settings, metricsAddress }, logger, metrics },
      load: (host) => {
        given = host;
        return load();
      },
    });
    running.push(service);
    expect(given).toEqual({ logger, metrics });
    expect(service.metrics).toBe(metrics);
    expect(service.metricsPort).toBeUndefined();
    await expect(status(port, '/healthz')).rejects.toThrow();
    expect(lines.at(-1)).toContain('"service":"one"');
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

  it('says that its address is taken before it loads', async () => {
    const first = await startService({ name: 'a-service', settings, load: recorded().load });
    running.push(first);
    const { events, load } = recorded();
    const taken = { ...settings, address: `127.0.0.1:${first.port}` };
    await expect(startService({ name: 'a-service', settings: taken, load })).rejects.toMatchObject({
      code: 'unavailable',
      message: expect.stringContaining(`--address 127.0.0.1:${first.port}: the port is in use`),
    });
    expect(events).toEqual([]);
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
    const { run, out, error } = program(() => Promise.reject(new ClipGenError('not_found', 'no model')));
    expect(await run('--threads', '3')).toBe(1);
    const lines = out()
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as Record<string, unknown>);
    expect(lines[0]).toMatchObject({ service: 'a-service', msg: 'starting', settings: { threads: '3' } });
    expect(lines[1]).toMatchObject({ level: 'error', code: 'not_found', error: 'no model' });
    expect(error()).toBe('a-service: no model\n');
  });
});

describe('readTls', () => {
  const pem = (name: string): string =>
    fileURLToPath(new URL(`../../serving/test-certificates/${name}`, import.meta.url));
  const [tlsCert, tlsKey, tlsClientCa] = [pem('server.pem'), pem('server.key'), pem('authority.pem')];

  it('reads the files that are named, and nothing where none is', async () => {
    expect(await readTls({ tlsCert: '', tlsKey: '', tlsClientCa: '' })).toBeUndefined();
    const both = await readTls({ tlsCert, tlsKey, tlsClientCa: '' });
    expect(both).toEqual({ certificate: await readFile(tlsCert), key: await readFile(tlsKey) });
    const all = await readTls({ tlsCert, tlsKey, tlsClientCa });
    expect(all?.clientAuthority).toEqual(await readFile(tlsClientCa));
  });

  it('says what is missing or wrong', async () => {
    await expect(readTls({ tlsCert, tlsKey: '', tlsClientCa: '' })).rejects.toThrow(
      '--tls-key must be given with --tls-cert',
    );
    await expect(readTls({ tlsCert: '', tlsKey, tlsClientCa: '' })).rejects.toThrow('--tls-cert must be given with');
    await expect(readTls({ tlsCert: `${tlsCert}x`, tlsKey, tlsClientCa: '' })).rejects.toMatchObject({
      code: 'not_found',
      message: `--tls-cert: ${tlsCert}x cannot be read (ENOENT)`,
    });
    await expect(readTls({ tlsCert, tlsKey: pem('client.key'), tlsClientCa: '' })).rejects.toThrow(
      /^--tls-cert .*server\.pem, --tls-key .*client\.key: tls must be PEM certificates with their keys; .*mismatch/,
    );
    const peer = { peerCa: pem('make.sh'), peerCert: '', peerKey: '', peerName: '' };
    await expect(readClientTls(peer)).rejects.toThrow(/^--peer-ca .*make\.sh: tls must be PEM certificates/);
    await expect(readClientTls({ ...peer, peerCa: '', peerName: 'x' })).rejects.toThrow('--peer-ca must be given with');
    await expect(readClientTls({ ...peer, peerCa: tlsClientCa, peerCert: tlsCert })).rejects.toThrow(
      '--peer-cert must be given with --peer-key',
    );
  });
});

describe('an address that is taken while models load', () => {
  it('closes what was opened', async () => {
    const port = await freePort();
    const { events, load } = recorded();
    const other = createServer();
    const started = startService({
      name: 'a-service',
      settings: { ...settings, address: `127.0.0.1:${port}` },
      load: async () => {
        other.listen(port, '127.0.0.1');
        await once(other, 'listening');
        return load();
      },
    });
    await expect(started).rejects.toMatchObject({ code: 'unavailable' });
    expect(events).toEqual(['load', 'close']);
    other.close();
  });
});

describe('refuseTakenAddresses', () => {
  it('names all that cannot be had, and leaves the others free', async () => {
    const taken = createServer().listen(0, '127.0.0.1');
    await once(taken, 'listening');
    const port = (taken.address() as AddressInfo).port;
    const free = await freePort();
    const addresses = { address: `127.0.0.1:${free}`, httpAddress: '127.0.0.1:0' };
    await refuseTakenAddresses(addresses);
    await refuseTakenAddresses(addresses); // nothing was kept
    const asked = refuseTakenAddresses({
      ...addresses,
      httpAddress: `127.0.0.1:${port}`,
      metricsAddress: '203.0.113.7:9050',
    });
    await expect(asked).rejects.toMatchObject({
      code: 'unavailable',
      message:
        `cannot listen on --http-address 127.0.0.1:${port}: the port is in use, perhaps by this program, ` +
        '--metrics-address 203.0.113.7:9050: no address of this machine; choose others (port 0: any free one)',
    });
    taken.close();
  });

  it('tells when two settings are the same address', async () => {
    const same = `127.0.0.1:${await freePort()}`;
    await expect(refuseTakenAddresses({ httpAddress: same, metricsAddress: same })).rejects.toThrow(
      `cannot listen on --metrics-address ${same}: the port is in use, perhaps by this program; choose others`,
    );
    await refuseTakenAddresses({ httpAddress: same });
  });
});
