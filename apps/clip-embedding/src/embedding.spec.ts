import { join } from 'node:path';
import { readSettings } from '@clip-gen/config';
import { ClipEmbeddingDefinition, EmbedTextRequest, ImageFormat, type Image } from '@clip-gen/contracts';
import { openModel, writeTinyModel, type Model } from '@clip-gen/generation';
import { encodeImage } from '@clip-gen/image';
import type { Running } from '@clip-gen/service';
import { connect } from '@clip-gen/serving';
import { grpcFrame, rawGrpcCall, temporaryFolder } from '@clip-gen/testing';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { EMBEDDING_SETTINGS } from './config.ts';
import { startEmbedding } from './start-embedding.ts';

const { IMAGE_FORMAT_RGB8: RGB8, IMAGE_FORMAT_PNG: PNG } = ImageFormat;

let folder: string;
let model: Model;
beforeAll(async () => {
  folder = join(await temporaryFolder(), 'model');
  await writeTinyModel(folder);
  model = await openModel(folder, { threads: 1 });
});
afterAll(() => model.close());

const open: { close(): Promise<void> | void }[] = [];
afterEach(async () => {
  for (const thing of open.splice(0).reverse()) await thing.close();
});

async function start(...flags: string[]) {
  const argv = ['--model', folder, '--address', '127.0.0.1:0', '--metrics-address', '127.0.0.1:0', '--threads', '1'];
  const settings = readSettings(EMBEDDING_SETTINGS, { argv: [...argv, '--log-level', 'silent', ...flags], env: {} });
  const running = await startEmbedding(settings);
  open.push(running);
  return { running, client: client(running) };
}

function client(running: Running, deadlineMs = 60_000) {
  const addresses = [`127.0.0.1:${running.port}`];
  const connection = connect(ClipEmbeddingDefinition, { addresses, name: 'embedding', deadlineMs });
  open.push(connection);
  return connection.client;
}

const picture = (width: number, height: number, seed = 1) => ({
  width,
  height,
  data: Uint8Array.from({ length: width * height * 3 }, (_, i) => (i * (30 + seed)) % 251),
});
const values = (vectors: readonly Float32Array[]): number[][] => vectors.map((vector) => Array.from(vector));

describe('EmbedText', () => {
  it('gives the vectors that the model gives in this process, bit for bit, one or many at a time', async () => {
    const { client } = await start();
    const texts = Array.from({ length: 40 }, (_, i) => ['pizza', 'a slice', ' of pizza '][i % 3]! + ' a'.repeat(i % 4));
    const { embeddings } = await client.embedText({ texts });
    expect(embeddings.map((one) => one.values)).toEqual(values(await model.textEncoder.encode(texts)));
    const [alone] = (await client.embedText({ texts: [texts[7]!] })).embeddings;
    expect(alone).toEqual(embeddings[7]);
  });

  it('refuses texts out of bounds', async () => {
    const { client } = await start('--max-texts', '3', '--max-text-characters', '100');
    const cases: readonly (readonly [string[], string])[] = [
      [[], 'texts must be 1 to 3 texts; got 0'],
      [['a', 'a', 'a', 'a'], 'texts must be 1 to 3 texts; got 4'],
      [['a', ''], 'texts[1] must be 1 to 100 characters long; got 0'],
      [['😀'.repeat(101)], 'texts[0] must be 1 to 100 characters long; got "more"'],
      [['a'.repeat(100_000)], 'texts[0] must be 1 to 100 characters long; got "more"'],
      [['   '], 'texts[0] must be a description in words'],
      [['a', 'pizza '.repeat(9)], 'texts[1] must be at most 8 tokens long'],
    ];
    for (const [texts, message] of cases) {
      await expect(client.embedText({ texts }), message).rejects.toMatchObject({
        code: 'invalid_argument',
        message: expect.stringContaining(message),
      });
    }
    expect((await client.embedText({ texts: ['pizza'] })).embeddings).toHaveLength(1);
  });
});

describe('EmbedImage', () => {
  it('gives the vectors that the model gives in this process, bit for bit, one or many at a time', async () => {
    const { client } = await start();
    const pictures = [picture(16, 16), picture(40, 20, 2), picture(7, 30, 3), picture(16, 16, 4)];
    const images = pictures.map((image) => ({ format: RGB8, ...image }));
    const { embeddings } = await client.embedImage({ images });
    expect(embeddings.map((one) => one.values)).toEqual(values(await model.imageEncoder.encode(pictures)));
    const png = { format: PNG, width: 0, height: 0, data: await encodeImage(pictures[1]!, { format: 'png' }) };
    const { embeddings: again } = await client.embedImage({ images: [png] });
    expect(again).toEqual([embeddings[1]]);
  });

  it('refuses pictures out of bounds', async () => {
    const { client } = await start('--max-images', '2', '--max-image-bytes', '2000', '--max-image-pixels', '600');
    const good = { format: RGB8, ...picture(16, 16) };
    const png = await encodeImage(picture(30, 30), { format: 'png' });
    const cases: readonly (readonly [Image[], string])[] = [
      [[], 'images must be 1 to 2 pictures; got 0'],
      [[good, good, good], 'images must be 1 to 2 pictures; got 3'],
      [[{ ...good, format: 7 as ImageFormat }], 'images[0].format must be a format of the contract, 0 to 4'],
      [[good, { ...good, data: new Uint8Array() }], 'images[1].data must be the bytes of a picture'],
      [[{ ...good, data: new Uint8Array(2001) }], 'images[0].data must be at most 2000 bytes'],
      [[{ ...good, width: 100, height: 100 }], 'images[0] must be of at most 600 pixels'],
      [[{ format: PNG, width: 0, height: 0, data: png.subarray(0, 1990) }], 'must have at most 600 pixels; got 30x30'],
    ];
    for (const [images, message] of cases) {
      await expect(client.embedImage({ images }), message).rejects.toMatchObject({
        code: 'invalid_argument',
        message: expect.stringContaining(message),
      });
    }
  });
});

describe('the service', () => {
  it('says what is served', async () => {
    const { client, running } = await start();
    const { weightsSha256, ...rest } = await client.getModel({});
    expect(weightsSha256).toMatch(/^[0-9a-f]{64}$/);
    expect(rest).toEqual({ embeddingSize: 16, contextLength: 10, imageSize: 16 });
    await client.embedText({ texts: ['pizza', 'slice'] });
    const metrics = await (await fetch(`http://127.0.0.1:${running.metricsPort}/metrics`)).text();
    expect(metrics).toContain('clip_gen_embeddings_total{kind="text"} 2');
    expect((await fetch(`http://127.0.0.1:${running.metricsPort}/readyz`)).status).toBe(200);
  });

  it('refuses calls past its queue and finishes those that it let in', async () => {
    const { client } = await start('--queue-limit', '2');
    const texts = Array.from({ length: 64 }, () => 'a slice of pizza');
    const outcomes = await Promise.allSettled(Array.from({ length: 20 }, () => client.embedText({ texts })));
    const done = outcomes.filter((outcome) => outcome.status === 'fulfilled');
    const refused = outcomes.flatMap((outcome) => (outcome.status === 'rejected' ? [outcome.reason as unknown] : []));
    expect(done.length).toBeGreaterThanOrEqual(3);
    expect(refused.length).toBeGreaterThan(0);
    for (const error of refused) {
      expect(error).toMatchObject({ code: 'resource_exhausted', retryAfterMs: expect.any(Number) });
    }
  });

  it('stops for a caller who goes, or whose deadline passes', async () => {
    const { client: patient, running } = await start('--queue-limit', '64');
    const texts = Array.from({ length: 64 }, () => 'a slice of pizza');
    const busy = Array.from({ length: 30 }, () => patient.embedText({ texts }).catch(() => undefined));
    await expect(client(running, 1).embedText({ texts })).rejects.toMatchObject({ code: 'deadline_exceeded' });
    const controller = new AbortController();
    const aborted = patient.embedText({ texts }, { signal: controller.signal });
    controller.abort();
    await expect(aborted).rejects.toThrow();
    await Promise.all(busy);
    expect((await patient.embedText({ texts })).embeddings).toHaveLength(64);
  });

  it('survives damaged and oversized messages', async () => {
    const { client, running } = await start('--max-receive-bytes', '2048');
    const path = '/clipgen.v1.ClipEmbedding/EmbedText';
    const whole = EmbedTextRequest.encode({ texts: ['pizza'] }).finish();
    for (const body of [whole.subarray(0, -1), Buffer.alloc(64, 0xff)]) {
      expect([3, 13]).toContain((await rawGrpcCall(running.port, path, grpcFrame(body))).status);
    }
    expect((await rawGrpcCall(running.port, path, grpcFrame(Buffer.alloc(3000)))).status).toBe(8);
    expect((await rawGrpcCall(running.port, path, grpcFrame(whole))).status).toBe(0);
    expect((await client.embedText({ texts: ['pizza'] })).embeddings).toHaveLength(1);
  });

  it('drains without a failed call', async () => {
    const { client, running } = await start();
    const texts = Array.from({ length: 64 }, () => 'a slice of pizza');
    await client.getModel({});
    const calls = Array.from({ length: 6 }, () => client.embedText({ texts }));
    await client.getModel({}); // they have arrived
    await running.drain();
    for (const { embeddings } of await Promise.all(calls)) expect(embeddings).toHaveLength(64);
  });
});
