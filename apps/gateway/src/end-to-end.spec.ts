import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { ImageGenerationDefinition } from '@clip-gen/contracts';
import { generate, openModel, writeTinyModel, type GenerationRequest } from '@clip-gen/generation';
import { encodeImage } from '@clip-gen/image';
import { connect } from '@clip-gen/serving';
import { temporaryFolder } from '@clip-gen/testing';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { RunningGateway } from './gateway.ts';
import { readEvents, startQuietGateway, until } from './test-gateway.ts';

// The three services as processes of their own, with an untrained model, and two replicas of the sampler.

interface Service {
  readonly process: ChildProcess;
  readonly address: string;
  readonly metricsAddress: string;
  readonly exited: Promise<unknown>;
}

let model: string;
let services: readonly [Service, Service, Service, Service];
let gateway: RunningGateway;
let url: string;

async function start(name: string, address = '127.0.0.1:0'): Promise<Service> {
  const program = fileURLToPath(new URL(`../../${name}/bin/${name}.js`, import.meta.url));
  const flags = ['--model', model, '--address', address, '--metrics-address', '127.0.0.1:0', '--threads', '1'];
  const child = spawn(process.execPath, [program, ...flags], { stdio: ['ignore', 'pipe', 'inherit'] });
  const exited = once(child, 'exit');
  const { port, metricsPort } = await new Promise<Ports>((resolve, reject) => {
    createInterface({ input: child.stdout }).on('line', (line) => {
      const entry = JSON.parse(line) as Ports & { msg: string };
      if (entry.msg === 'serving') resolve(entry);
    });
    exited.then(() => reject(new RangeError(`${name} ended before it served`)), reject);
  });
  return { process: child, address: `127.0.0.1:${port}`, metricsAddress: `127.0.0.1:${metricsPort}`, exited };
}

interface Ports {
  readonly port: number;
  readonly metricsPort: number;
}

beforeAll(async () => {
  model = join(await temporaryFolder(), 'model');
  await writeTinyModel(model, { tokens: 256 });
  services = await Promise.all([
    start('clip-embedding'),
    start('transformer-sampler'),
    start('transformer-sampler'),
    start('vqgan-decoder'),
  ]);
  const [embedding, first, second, decoder] = services;
  ({ gateway } = await startQuietGateway({
    embedding: embedding.address,
    sampler: `${first.address},${second.address}`,
    decoders: `vqgan=${decoder.address}`,
  }));
  url = `http://127.0.0.1:${gateway.httpPort}`;
  await until('all are ready', async () => (await fetch(`${url}/readyz`)).ok);
}, 180_000);

afterAll(async () => {
  await gateway?.close();
  for (const { process: child, exited } of services ?? []) {
    child.kill('SIGKILL');
    await exited;
  }
});

const REQUEST = { prompt: 'a slice of pizza', candidates: 6, n: 3, seed: 11 };

async function post(body: object): Promise<Response> {
  const headers = { 'content-type': 'application/json' };
  return fetch(`${url}/v1/images/generations`, { method: 'POST', headers, body: JSON.stringify(body) });
}

async function pictures(body: object): Promise<{ b64_json: string; candidate: number; clip_score: number }[]> {
  const response = await post(body);
  const answer = (await response.json()) as { data: { b64_json: string; candidate: number; clip_score: number }[] };
  expect(response.status, JSON.stringify(answer)).toBe(200);
  return answer.data;
}

/** What one process draws, with the command line's encoder. */
async function inProcess(request: GenerationRequest) {
  const opened = await openModel(model, { threads: 1 });
  try {
    const { pictures: kept } = await generate(opened, request);
    return await Promise.all(
      kept.map(async ({ image, candidate, score }) => {
        const png = await encodeImage(image, { format: 'png' });
        return { b64_json: png.toString('base64'), seed: request.seed, candidate, clip_score: score };
      }),
    );
  } finally {
    await opened.close();
  }
}

it('gives the bytes of one process over REST, as a stream and over gRPC', async () => {
  const { n, ...rest } = REQUEST;
  const expected = await inProcess({ ...rest, pictures: n });
  expect(await pictures(REQUEST)).toEqual(expected);

  const streamed: unknown[] = [];
  let partials = 0;
  for await (const event of readEvents(await post({ ...REQUEST, stream: true, partial_images: 3 }))) {
    if (event['type'] === 'image_generation.completed') streamed.push(event['b64_json']);
    else partials++;
  }
  expect(streamed).toEqual(expected.map(({ b64_json: picture }) => picture));
  expect(partials).toBe(3);

  const addresses = [`127.0.0.1:${gateway.port}`];
  const connection = connect(ImageGenerationDefinition, { name: 'gateway', addresses, deadlineMs: 60_000 });
  const called: string[] = [];
  for await (const { event } of connection.client.generate({ ...REQUEST, seed: 11n })) {
    if (event?.$case === 'image') called.push(Buffer.from(event.value.image!.data).toString('base64'));
  }
  connection.close();
  expect(called).toEqual(streamed);
});

it('draws as one process does with other options', async () => {
  const options = { temperature: 0.7, candidates: 3, seed: 2 ** 53 - 1 };
  const answer = await pictures({ ...options, prompt: 'pizza', top_k: 9, top_p: 0.8, guidance_scale: 1.7, n: 2 });
  const request = { ...options, prompt: 'pizza', topK: 9, topP: 0.8, guidance: 1.7, pictures: 2 };
  expect(answer).toEqual(await inProcess(request));
});

it('refuses a prompt that is too long for the text encoder', async () => {
  const response = await post({ prompt: 'pizza '.repeat(9) });
  expect(response.status).toBe(400);
  const { error } = (await response.json()) as { error: { param: string; message: string } };
  expect(error).toMatchObject({ param: 'prompt', message: expect.stringContaining('prompt must be at most 8 tokens') });
});

it('loses no request with a replica of the sampler, and finds it again', async () => {
  const expected = await pictures(REQUEST);
  const load = Array.from({ length: 6 }, () => pictures(REQUEST));
  const stream = readEvents(await post({ ...REQUEST, stream: true, progress: true }));
  await stream.next(); // tokens are being drawn
  const [embedding, victim, other, decoder] = services;
  victim.process.kill('SIGKILL');
  await victim.exited;
  for (const answer of await Promise.all(load)) expect(answer).toEqual(expected);
  const last: unknown[] = [];
  for await (const event of stream) if (event['type'] === 'image_generation.completed') last.push(event['b64_json']);
  expect(last).toEqual(expected.map(({ b64_json: picture }) => picture));

  // Without any: 503, until one comes back.
  other.process.kill('SIGKILL');
  await other.exited;
  expect((await post(REQUEST)).status).toBe(503);
  const back = await start('transformer-sampler', victim.address);
  services = [embedding, back, other, decoder];
  await until('readyz is ready', async () => (await fetch(`${url}/readyz`)).ok);
  expect(await pictures(REQUEST)).toEqual(expected);
}, 180_000);

it('lets a service leave by SIGTERM without a failed request', async () => {
  const [embedding, sampler, , decoder] = services;
  const expected = await pictures(REQUEST);
  const second = await start('transformer-sampler', services[2].address);
  services = [embedding, sampler, second, decoder];
  await until('the second has its share', async () => {
    await pictures({ ...REQUEST, candidates: 1, n: 1 });
    const metrics = await (await fetch(`http://${second.metricsAddress}/metrics`)).text();
    return /clip_gen_grpc_server_handled_total\{[^}]*method="Sample",code="OK"\} [1-9]/.test(metrics);
  });
  const load = Array.from({ length: 6 }, () => pictures(REQUEST));
  second.process.kill('SIGTERM');
  for (const answer of await Promise.all(load)) expect(answer).toEqual(expected);
  await second.exited;
  expect(second.process.exitCode).toBe(0);
}, 180_000);
