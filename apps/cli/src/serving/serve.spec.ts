import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { readSettings } from '@clip-gen/config';
import { ImageGenerationDefinition } from '@clip-gen/contracts';
import type { RunningGateway } from '@clip-gen/gateway';
import { writeTinyModel } from '@clip-gen/generation';
import { connect } from '@clip-gen/serving';
import { createLogger } from '@clip-gen/telemetry';
import { temporaryFolder } from '@clip-gen/testing';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { main } from '../main.ts';
import { serveSettings } from './serve-settings.ts';
import { startAll } from './start-all.ts';

const FREE = '127.0.0.1:0';
const DOORS = ['--http-address', FREE, '--address', FREE, '--metrics-address', FREE];
const PROMPT = 'a slice of pizza';
/** Of the tiny model's pictures. */
const SIDE = 16;

let folder: string;
let model: string;
beforeAll(async () => {
  folder = await temporaryFolder();
  model = join(folder, 'model');
  await writeTinyModel(model);
});

async function overHttp(port: number, request: object): Promise<{ status: number; pictures: Buffer[] }> {
  const response = await fetch(`http://127.0.0.1:${port}/v1/images/generations`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(request),
  });
  const { data = [] } = (await response.json()) as { data?: { b64_json: string }[] };
  return { status: response.status, pictures: data.map(({ b64_json: text }) => Buffer.from(text, 'base64')) };
}

describe('one process with all services', { timeout: 120_000 }, () => {
  let running: RunningGateway;
  beforeAll(async () => {
    const settings = readSettings(serveSettings(model), { argv: DOORS, env: {} });
    running = await startAll(settings, { logger: createLogger({ service: 'test', level: 'silent', format: 'json' }) });
  });
  afterAll(() => running.close());

  it('gives the bytes of `clip-gen generate` over REST and gRPC, alone and under load', async () => {
    const out = join(folder, 'picture.png');
    vi.spyOn(process.stdout, 'write').mockReturnValue(true);
    const flags = ['--seed', '7', '--candidates', '5', '--size', String(SIDE), '--model', model, '--no-preview'];
    expect(await main(['generate', PROMPT, ...flags, '--out', out])).toBeUndefined();
    vi.restoreAllMocks();
    const expected = await readFile(out);

    const request = { prompt: PROMPT, seed: 7, candidates: 5 };
    const { status, pictures } = await overHttp(running.httpPort, request);
    expect(status).toBe(200);
    expect(pictures.map((picture) => picture.equals(expected))).toEqual([true]);

    const { client, close } = connect(ImageGenerationDefinition, {
      addresses: [`127.0.0.1:${running.port}`],
      name: 'gateway',
      deadlineMs: 60_000,
      maxReceiveBytes: 1 << 20,
    });
    for await (const { event } of client.generate({ ...request, seed: 7n })) {
      if (event?.$case === 'image') expect(Buffer.from(event.value.image!.data).equals(expected)).toBe(true);
    }
    close();

    const others = Array.from({ length: 6 }, (_, i) => overHttp(running.httpPort, { ...request, seed: 100 + i }));
    const again = await Promise.all([...others, overHttp(running.httpPort, request)]);
    expect(again.map((answer) => answer.status)).toEqual(again.map(() => 200));
    expect(again.at(-1)!.pictures[0]!.equals(expected)).toBe(true);
    expect(again[0].pictures[0]!.equals(expected)).toBe(false);
  });

  it('says what a model lacks, and leaves nothing open', async () => {
    const settings = readSettings(serveSettings(join(folder, 'nothing')), { argv: DOORS, env: {} });
    const logger = createLogger({ service: 'test', level: 'silent', format: 'json' });
    await expect(startAll(settings, { logger })).rejects.toMatchObject({ code: 'not_found' });
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
      return Number(/^clip_gen_queue_wait_seconds_count\{queue="generation"\} (\d+)$/m.exec(text)?.[1] ?? 0);
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
