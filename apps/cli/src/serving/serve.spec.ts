import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { readFile, writeFile } from 'node:fs/promises';
import { request as httpsRequest } from 'node:https';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { readSettings } from '@clip-gen/config';
import { ImageGenerationDefinition } from '@clip-gen/contracts';
import type { RunningGateway } from '@clip-gen/gateway';
import { writeTinyModel } from '@clip-gen/generation';
import { connect } from '@clip-gen/serving';
import { createLogger } from '@clip-gen/telemetry';
import { temporaryFolder } from '@clip-gen/testing';
import { DECODER_SETTINGS, startDecoder } from '@clip-gen/vqgan-decoder';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { main } from '../main.ts';
import { serveSettings } from './serve-settings.ts';
import { startAll } from './start-all.ts';

const FREE = '127.0.0.1:0';
const DOORS = ['--http-address', FREE, '--address', FREE, '--metrics-address', FREE];
const PROMPT = 'a slice of pizza';
/** Of the tiny model's pictures. */
const SIDE = 16;

/** The model's wishes, unlike what holds without them. */
const DEFAULTS = { candidates: 5, temperature: 1.3, topK: 21, topP: 0.83, guidance: 2.3 };

let folder: string;
let model: string;
beforeAll(async () => {
  folder = await temporaryFolder();
  model = join(folder, 'model');
  await writeTinyModel(model);
  await writeFile(join(model, 'generation.json'), JSON.stringify(DEFAULTS));
});

async function overHttp(port: number, request: object, headers = {}): Promise<{ status: number; pictures: Buffer[] }> {
  const response = await fetch(`http://127.0.0.1:${port}/v1/images/generations`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: JSON.stringify(request),
  });
  const { data = [] } = (await response.json()) as { data?: { b64_json: string }[] };
  return { status: response.status, pictures: data.map(({ b64_json: text }) => Buffer.from(text, 'base64')) };
}

describe('one process with all services', { timeout: 120_000 }, () => {
  const log: Record<string, unknown>[] = [];
  const destination = {
    write(line: string): void {
      expect(line.match(/"service":/g)).toHaveLength(1);
      log.push(JSON.parse(line) as Record<string, unknown>);
    },
  };
  let running: RunningGateway;
  beforeAll(async () => {
    const settings = readSettings(serveSettings(model), { argv: DOORS, env: {} });
    running = await startAll(settings, { logger: createLogger({ service: 'test', level: 'info', destination }) });
  });
  afterAll(() => running.close());

  /** The picture that `clip-gen generate` saves. */
  async function commandLine(...flags: string[]): Promise<Buffer> {
    const out = join(await temporaryFolder(), 'picture.png');
    vi.spyOn(process.stdout, 'write').mockReturnValue(true);
    const fixed = ['--seed', '7', '--size', String(SIDE), '--model', model, '--no-preview', '--out', out];
    expect(await main(['generate', PROMPT, ...fixed, ...flags])).toBeUndefined();
    vi.restoreAllMocks();
    return readFile(out);
  }

  async function overGrpc(request: object): Promise<{ candidates: number | undefined; pictures: Buffer[] }> {
    const pictures: Buffer[] = [];
    let candidates: number | undefined;
    const addresses = [`127.0.0.1:${running.port}`];
    const { client, close } = connect(ImageGenerationDefinition, { addresses, name: 'gateway', deadlineMs: 60_000 });
    for await (const { event } of client.generate({ prompt: PROMPT, seed: 7n, ...request })) {
      if (event?.$case === 'accepted') ({ candidates } = event.value);
      if (event?.$case === 'image') pictures.push(Buffer.from(event.value.image!.data));
    }
    close();
    return { candidates, pictures };
  }

  it('gives the bytes of `clip-gen generate` over REST and gRPC, with the defaults of generation.json', async () => {
    const expected = await commandLine();
    const request = { prompt: PROMPT, seed: 7 };
    expect(await overHttp(running.httpPort, request)).toEqual({ status: 200, pictures: [expected] });
    expect(await overGrpc({})).toEqual({ candidates: DEFAULTS.candidates, pictures: [expected] });
    // The file is what makes it this picture: without it there would be another.
    const plain = ['--temperature', '1', '--top-k', '0', '--top-p', '1', '--guidance', '1', '--candidates', '16'];
    expect((await commandLine(...plain)).equals(expected)).toBe(false);
  });

  it('gives the bytes of `clip-gen generate` for options that no float holds, alone and under load', async () => {
    const flags = ['--temperature', '0.9', '--top-p', '0.95', '--guidance', '1.7', '--top-k', '30'];
    const expected = await commandLine(...flags, '--candidates', '3');
    const sampling = { temperature: 0.9, topP: 0.95, guidance: 1.7, topK: 30 };
    expect(await overGrpc({ candidates: 3, sampling })).toEqual({ candidates: 3, pictures: [expected] });
    const rest = { temperature: 0.9, top_p: 0.95, guidance_scale: 1.7, top_k: 30 };
    const request = { prompt: PROMPT, seed: 7, candidates: 3, ...rest };
    const others = Array.from({ length: 6 }, (_, i) => overHttp(running.httpPort, { ...request, seed: 100 + i }));
    const [first, ...answers] = await Promise.all([...others, overHttp(running.httpPort, request)]);
    expect(answers.at(-1)).toEqual({ status: 200, pictures: [expected] });
    expect(answers.map(({ status }) => status)).toEqual(answers.map(() => 200));
    expect(first.pictures[0]!.equals(expected)).toBe(false);
  });

  it("has a request's id in the logs of all services", async () => {
    const id = 'from-the-client-1';
    const { status } = await overHttp(running.httpPort, { prompt: PROMPT, candidates: 2 }, { 'x-request-id': id });
    expect(status).toBe(200);
    const services = (): unknown[] => log.flatMap((line) => (line['requestId'] === id ? [line['service']] : []));
    await vi.waitFor(() => {
      const wanted = ['clip-embedding', 'gateway', 'transformer-sampler', 'vqgan-decoder'];
      expect([...new Set(services())].sort()).toEqual(wanted);
    });
  });

  it('shows the metrics of all services in one place, and opens no other', async () => {
    expect((await overHttp(running.httpPort, { prompt: PROMPT, candidates: 2 })).status).toBe(200);
    const at = [running.httpPort, running.metricsPort].map((port) => `http://127.0.0.1:${port}/metrics`);
    const [text, again] = await Promise.all(at.map(async (url) => (await fetch(url)).text()));
    const seriesOf = (name: string, of: string): string[] =>
      of.split('\n').filter((line) => line.startsWith(`${name}{`) || line.startsWith(`${name} `));
    const services = ['clip-embedding', 'transformer-sampler', 'vqgan-decoder', 'gateway'];
    for (const service of services) {
      expect(text).toMatch(new RegExp(`^clip_gen_grpc_\\w+\\{.*service="${service}".*\\} [1-9]`, 'm'));
    }
    expect(text).toMatch(/^clip_gen_decoder_pictures_total\{.*service="vqgan-decoder".*\} [1-9]/m);
    // Of the process there is one, and each metric is declared once, as Prometheus demands.
    expect(seriesOf('process_resident_memory_bytes', text!)).toHaveLength(1);
    const declared = text!.match(/^# TYPE \S+/gm) ?? [];
    expect(new Set(declared).size).toBe(declared.length);
    expect(again!.match(/^# TYPE \S+/gm)).toEqual(declared);
    expect(log.filter((line) => line['msg'] === 'serving').map((line) => line['metricsPort'])).toEqual([
      undefined,
      undefined,
      undefined,
    ]);
  });

  it('says what a model lacks, and leaves nothing open', async () => {
    const settings = readSettings(serveSettings(join(folder, 'nothing')), { argv: DOORS, env: {} });
    const logger = createLogger({ service: 'test', level: 'silent', format: 'json' });
    await expect(startAll(settings, { logger })).rejects.toMatchObject({ code: 'not_found' });
  });
});

describe('one process with more', { timeout: 120_000 }, () => {
  const logger = createLogger({ service: 'test', level: 'silent' });
  const opened: { close(): Promise<void> }[] = [];
  afterAll(async () => {
    for (const { close } of opened.reverse()) await close();
  });

  async function start(...flags: string[]): Promise<RunningGateway> {
    const settings = readSettings(serveSettings(model), { argv: [...DOORS, ...flags], env: {} });
    const running = await startAll(settings, { logger });
    opened.push(running);
    return running;
  }

  it('has a decoder that runs elsewhere, and one that is not there does not hold up the others', async () => {
    const argv = ['--model', model, '--address', FREE, '--metrics-address', FREE];
    const elsewhere = await startDecoder(readSettings(DECODER_SETTINGS, { argv, env: {} }), { logger });
    opened.push(elsewhere);
    const { httpPort } = await start('--decoders', `far=127.0.0.1:${elsewhere.port},away=127.0.0.1:9`);
    const request = { prompt: PROMPT, seed: 7, candidates: 2 };
    const own = await overHttp(httpPort, request);
    expect(own.status).toBe(200);
    expect(await overHttp(httpPort, { ...request, decoder: 'far' })).toEqual(own);
    expect(await elsewhere.metrics.text()).toMatch(/clip_gen_decoder_pictures_total\{kind="final"\} 2/);
    expect((await overHttp(httpPort, { ...request, decoder: 'away' })).status).toBe(503);
  });

  const pem = (name: string): string =>
    fileURLToPath(new URL(`../../../../libs/serving/test-certificates/${name}`, import.meta.url));

  it('calls decoders elsewhere over TLS where an authority is given, and shows them its certificate', async () => {
    const tls = [
      '--tls-cert',
      pem('server.pem'),
      '--tls-key',
      pem('server.key'),
      '--tls-client-ca',
      pem('authority.pem'),
    ];
    const argv = ['--model', model, '--address', FREE, '--metrics-address', FREE, ...tls];
    const elsewhere = await startDecoder(readSettings(DECODER_SETTINGS, { argv, env: {} }), { logger });
    opened.push(elsewhere);
    const decoders = ['--decoders', `far=127.0.0.1:${elsewhere.port}`];
    const trust = ['--peer-ca', pem('authority.pem'), '--peer-name', 'sampler.test'];
    const shown = ['--peer-cert', pem('client.pem'), '--peer-key', pem('client.key')];
    const request = { prompt: PROMPT, seed: 7, candidates: 2 };
    const known = await start(...decoders, ...trust, ...shown);
    const own = await overHttp(known.httpPort, request); // the services in this process need none of it
    expect(own.status).toBe(200);
    expect(await overHttp(known.httpPort, { ...request, decoder: 'far' })).toEqual(own);
    for (const flags of [[], trust]) {
      const stranger = await start(...decoders, ...flags);
      expect((await overHttp(stranger.httpPort, request)).status).toBe(200);
      expect((await overHttp(stranger.httpPort, { ...request, decoder: 'far' })).status).toBe(503);
    }
    await expect(start(...decoders, ...shown)).rejects.toThrow('--peer-ca must be given with');
  });

  it('is served over TLS alone, where a certificate is given', async () => {
    const { httpPort, port } = await start('--tls-cert', pem('server.pem'), '--tls-key', pem('server.key'));
    const authority = await readFile(pem('authority.pem'));
    const serverName = 'sampler.test'; // that the certificate is for
    const status = await new Promise<number | undefined>((resolve, reject) => {
      const options = { host: '127.0.0.1', port: httpPort, path: '/v1/images/generations', method: 'POST' };
      const headers = { 'content-type': 'application/json' };
      const sent = httpsRequest({ ...options, headers, ca: authority, servername: serverName, agent: false });
      sent.on('response', (answer) => answer.resume().on('end', () => resolve(answer.statusCode))).on('error', reject);
      sent.end(JSON.stringify({ prompt: PROMPT, candidates: 1 }));
    });
    expect(status).toBe(200);
    await expect(fetch(`http://127.0.0.1:${httpPort}/healthz`)).rejects.toThrow();
    const addresses = [`127.0.0.1:${port}`];
    const grpc = connect(ImageGenerationDefinition, {
      ...{ addresses, name: 'gateway', deadlineMs: 10_000 },
      tls: { authority, serverName },
    });
    expect(await grpc.client.listDecoders({})).toEqual({ names: ['vqgan'] });
    grpc.close();
    await expect(start('--tls-cert', pem('server.pem'))).rejects.toThrow('--tls-key must be given with --tls-cert');
  });
});

describe('clip-gen serve', { timeout: 120_000 }, () => {
  const program = fileURLToPath(new URL('../../bin/clip-gen.js', import.meta.url));
  const children: ChildProcess[] = [];
  afterAll(() => {
    for (const child of children) child.kill('SIGKILL');
  });

  it('says where it is, and on SIGTERM ends what it has begun, then itself with exit code 0', async () => {
    const child = spawn(process.execPath, [program, 'serve', '--model', model, ...DOORS, '--log-level', 'error'], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    children.push(child);
    const exited = once(child, 'exit');
    const [line] = (await once(child.stdout.setEncoding('utf8'), 'data')) as [string];
    const port = Number(/^clip-gen is at http:\/\/127\.0\.0\.1:(\d+) /.exec(line)?.[1]);
    expect(port).toBeGreaterThan(0);

    const answers = [1, 2, 3].map((seed) => overHttp(port, { prompt: PROMPT, seed, candidates: 64 }));
    const begun = async (): Promise<number> => {
      const text = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
      return Number(/^clip_gen_queue_wait_seconds_count\{.*queue="generation".*\} (\d+)$/m.exec(text)?.[1] ?? 0);
    };
    while ((await begun()) < 3) await new Promise((resolve) => setTimeout(resolve, 5));
    child.kill('SIGTERM');
    expect((await Promise.all(answers)).map(({ status }) => status)).toEqual([200, 200, 200]);
    expect(await exited).toEqual([0, null]);
  });

  it('refuses a flag that it does not know with exit code 2', async () => {
    const child = spawn(process.execPath, [program, 'serve', '--modle', model], {
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    let text = '';
    child.stderr.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
    const [code] = (await once(child, 'close')) as [number];
    expect(code).toBe(2);
    expect(text).toMatch(/^clip-gen serve: .*--modle.*--model/);
  });
});
