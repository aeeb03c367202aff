import { readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { readSettings } from '@clip-gen/config';
import type { RunningGateway } from '@clip-gen/gateway';
import { writeTinyModel } from '@clip-gen/generation';
import { createLogger } from '@clip-gen/telemetry';
import { temporaryFolder } from '@clip-gen/testing';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { main } from '../main.ts';
import { ownDecoders } from './own-decoders.ts';
import { serveSettings } from './serve-settings.ts';
import { startAll } from './start-all.ts';

const FREE = '127.0.0.1:0';
const DOORS = ['--http-address', FREE, '--address', FREE, '--metrics-address', FREE];

describe('the preview decoder of a model', { timeout: 120_000 }, () => {
  let model: string;
  let running: RunningGateway;
  beforeAll(async () => {
    model = join(await temporaryFolder(), 'model');
    await writeTinyModel(model, { preview: true });
    const settings = readSettings(serveSettings(model), { argv: DOORS, env: {} });
    running = await startAll(settings, { logger: createLogger({ service: 'test', level: 'silent', format: 'json' }) });
  });
  afterAll(() => running.close());

  const http = async (path: string, body?: object): Promise<Record<string, unknown>> => {
    const init = body && {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(body),
    };
    return (await (await fetch(`http://127.0.0.1:${running.httpPort}${path}`, init)).json()) as Record<string, unknown>;
  };

  /** Base64 of the pictures on the way of a request that streams. */
  async function streamed(more: object): Promise<string[]> {
    const response = await fetch(`http://127.0.0.1:${running.httpPort}/v1/images/generations`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ prompt: 'a slice of pizza', seed: 7, candidates: 3, stream: true, ...more }),
    });
    const events = [...(await response.text()).matchAll(/^data: (\{.*)$/gm)].map(
      ([, data]) => JSON.parse(data!) as { type: string; b64_json: string },
    );
    return events
      .filter(({ type }) => type === 'image_generation.partial_image')
      .map(({ b64_json: picture }) => picture);
  }

  /** What the command saves, or its exit code and what it says. */
  async function commandLine(
    ...flags: string[]
  ): Promise<{ exitCode: number | undefined; file: Buffer; partials: string[]; said: string }> {
    const folder = await temporaryFolder();
    const out = join(folder, 'picture.png');
    vi.spyOn(process.stdout, 'write').mockReturnValue(true);
    let said = '';
    vi.spyOn(process.stderr, 'write').mockImplementation((text) => {
      said += String(text);
      return true;
    });
    const fixed = ['--seed', '7', '--size', '16', '--candidates', '3', '--model', model, '--no-preview', '--out', out];
    const exitCode = await main(['generate', 'a slice of pizza', ...fixed, ...flags]);
    vi.restoreAllMocks();
    const names = (await readdir(folder)).filter((name) => name.includes('partial')).sort();
    const partials = await Promise.all(
      names.map(async (name) => (await readFile(join(folder, name))).toString('base64')),
    );
    return { exitCode, said, partials, file: await readFile(out).catch(() => Buffer.alloc(0)) };
  }

  it('makes the pictures of `generate --decoder preview`, and those of a request that names it', async () => {
    const [own, small] = [await commandLine(), await commandLine('--decoder', 'preview')];
    expect([own.exitCode, small.exitCode]).toEqual([undefined, undefined]);
    expect(small.file.length).toBeGreaterThan(0);
    expect(small.file.equals(own.file)).toBe(false);
    const request = { prompt: 'a slice of pizza', seed: 7, candidates: 3 };
    const picture = async (more: object): Promise<Buffer> => {
      const { data } = (await http('/v1/images/generations', { ...request, ...more })) as {
        data: { b64_json: string }[];
      };
      return Buffer.from(data[0]!.b64_json, 'base64');
    };
    expect(await picture({ decoder: 'preview' })).toEqual(small.file);
    expect(await picture({ model: 'clip-gen:preview' })).toEqual(small.file);
    expect(await picture({})).toEqual(own.file);
    const { data } = (await http('/v1/models')) as { data: { id: string }[] };
    expect(data.map(({ id }) => id)).toEqual(['clip-gen', 'clip-gen:vqgan', 'clip-gen:preview']);
  });

  it('makes the pictures on the way, of `generate` and of a request alike, unless they say otherwise', async () => {
    const three = ['--partial-images', '3'];
    const [usual, named] = [await commandLine(...three), await commandLine(...three, '--partial-decoder', 'preview')];
    const slow = await commandLine(...three, '--partial-decoder', 'vqgan');
    const small = await commandLine(...three, '--decoder', 'preview');
    const mixed = await commandLine(...three, '--decoder', 'preview', '--partial-decoder', 'vqgan');
    expect(usual.partials).toHaveLength(3);
    expect(usual.file.equals((await commandLine()).file)).toBe(true);
    for (const { partials } of [named, small]) expect(partials).toEqual(usual.partials);
    expect(mixed).toMatchObject({ partials: slow.partials, file: small.file });
    for (const [i, picture] of slow.partials.entries()) expect(picture).not.toBe(usual.partials[i]);
    expect(await streamed({ partial_images: 3 })).toEqual(usual.partials);
    const two = (await commandLine('--partial-images', '2')).partials; // at distances that have to be rounded
    expect(two).toHaveLength(2);
    expect(await streamed({ partial_images: 2 })).toEqual(two);
    expect(await streamed({ partial_images: 3, partial_decoder: 'vqgan' })).toEqual(slow.partials);
  });

  it('is served where there is one, unless another is given its name', async () => {
    const names = async (others: { name: string }[]): Promise<string[]> =>
      (await ownDecoders(model, others)).map(({ name }) => name);
    expect(await names([])).toEqual(['vqgan', 'preview']);
    expect(await names([{ name: 'preview' }])).toEqual(['vqgan']);
    const bare = join(await temporaryFolder(), 'bare');
    await writeTinyModel(bare);
    expect((await ownDecoders(bare, [])).map(({ name }) => name)).toEqual(['vqgan']);
  });

  it('says how to train it where it is missing', async () => {
    await rm(join(model, 'preview'), { recursive: true });
    for (const flags of [[], ['--partial-images', '1']]) expect((await commandLine(...flags)).exitCode).toBeUndefined();
    const { exitCode, said, file } = await commandLine('--partial-images', '1', '--partial-decoder', 'preview');
    expect((await commandLine('--decoder', 'preview')).said).toBe(said);
    expect({ exitCode, bytes: file.length }).toEqual({ exitCode: 2, bytes: 0 });
    expect(said).toBe(
      `clip-gen: model ${model} has no preview decoder; train it: clip-gen train preview --data PICTURES ` +
        `--vqgan ${join(model, 'vqgan')} --out ${join(model, 'preview')}\n`,
    );
  });
});
