import { readFile } from 'node:fs/promises';
import { request, type RequestOptions } from 'node:https';
import { fileURLToPath } from 'node:url';
import { ImageGenerationDefinition } from '@clip-gen/contracts';
import { connect } from '@clip-gen/serving';
import { afterEach, expect, it } from 'vitest';
import { standInDecoder, standInEmbedding, standInSampler } from './stand-in-services.ts';
import { startQuietGateway, until } from './test-gateway.ts';

const path = (name: string): string =>
  fileURLToPath(new URL(`../../../libs/serving/test-certificates/${name}`, import.meta.url));
const pem = (name: string): Promise<Buffer> => readFile(path(name));
/** That the servers' certificate is for. */
const NAME = 'sampler.test';
const authority = await pem('authority.pem');
const pair = { certificate: await pem('server.pem'), key: await pem('server.key') };
const client = { certificate: await pem('client.pem'), key: await pem('client.key') };

const opened: { close(): unknown }[] = [];
afterEach(async () => {
  for (const thing of opened.splice(0).reverse()) await thing.close();
});

/** Services that only clients with a certificate may call. */
async function closedServices() {
  const tls = { ...pair, clientAuthority: authority };
  const [embedding, sampler, decoder] = await Promise.all([
    standInEmbedding(undefined, { tls }),
    standInSampler(undefined, { tls }),
    standInDecoder(undefined, { tls }),
  ]);
  opened.push(embedding.server, sampler.server, decoder.server);
  return { embedding: embedding.address, sampler: sampler.address, decoders: `vqgan=${decoder.address}` };
}

function https(port: number, options: RequestOptions, body?: object): Promise<number | undefined> {
  return new Promise((resolve, reject) => {
    const headers = { 'content-type': 'application/json' };
    const sent = request({ host: '127.0.0.1', port, servername: NAME, headers, agent: false, ...options }, (answer) => {
      answer.resume().on('end', () => resolve(answer.statusCode));
    });
    sent.on('error', reject).end(body && JSON.stringify(body));
  });
}

it('serves over TLS alone, in front of services that demand a certificate', async () => {
  const own = [`--tls-cert=${path('server.pem')}`, `--tls-key=${path('server.key')}`];
  const toPeers = [`--peer-ca=${path('authority.pem')}`, `--peer-name=${NAME}`];
  const shown = [`--peer-cert=${path('client.pem')}`, `--peer-key=${path('client.key')}`];
  const { gateway } = await startQuietGateway(await closedServices(), [...own, ...toPeers, ...shown]);
  opened.push(gateway);
  const ca = { ca: authority };
  await until('it is ready', async () => (await https(gateway.httpPort, { path: '/readyz', ...ca })) === 200);
  const images = { path: '/v1/images/generations', method: 'POST' };
  expect(await https(gateway.httpPort, { ...images, ...ca }, { prompt: 'a red apple', candidates: 2 })).toBe(200);
  await expect(https(gateway.httpPort, { path: '/healthz' })).rejects.toThrow(/certificate/); // nobody it trusts
  await expect(fetch(`http://127.0.0.1:${gateway.httpPort}/healthz`)).rejects.toThrow();

  const call = (tls?: object): Promise<unknown> => {
    const addresses = [`127.0.0.1:${gateway.port}`];
    const connection = connect(ImageGenerationDefinition, {
      ...{ addresses, name: 'gateway', deadlineMs: 10_000, retry: { attempts: 1 } },
      ...(tls && { tls }),
    });
    opened.push(connection);
    return connection.client.listDecoders({});
  };
  expect(await call({ authority, serverName: NAME })).toEqual({ names: ['vqgan'] });
  await expect(call()).rejects.toMatchObject({ code: 'unavailable' });
});

it('lets in only clients with a certificate, where told to', async () => {
  const own = [`--tls-cert=${path('server.pem')}`, `--tls-key=${path('server.key')}`];
  const { gateway } = await startQuietGateway(await closedServices(), [
    ...own,
    `--tls-client-ca=${path('authority.pem')}`,
  ]);
  opened.push(gateway);
  const known = { ca: authority, cert: client.certificate, key: client.key };
  expect(await https(gateway.httpPort, { path: '/healthz', ...known })).toBe(200);
  await expect(https(gateway.httpPort, { path: '/healthz', ca: authority })).rejects.toThrow();
  // Without TLS of its own it cannot talk to the services, and says that they are away.
  expect(await https(gateway.httpPort, { path: '/readyz', ...known })).toBe(503);
});

it('says which file is missing or wrong', async () => {
  const nobody = { embedding: '127.0.0.1:9', sampler: '127.0.0.1:9', decoders: 'vqgan=127.0.0.1:9' };
  const start = (...flags: string[]): Promise<unknown> => startQuietGateway(nobody, flags);
  await expect(start(`--tls-cert=${path('server.pem')}`)).rejects.toThrow('--tls-key must be given with --tls-cert');
  await expect(start(`--peer-name=${NAME}`)).rejects.toThrow('--peer-ca must be given with');
  await expect(start(`--peer-ca=${path('nothing.pem')}`)).rejects.toMatchObject({ code: 'not_found' });
  const mixed = start(`--tls-cert=${path('server.pem')}`, `--tls-key=${path('client.key')}`);
  await expect(mixed).rejects.toThrow(/tls must be PEM certificates with their keys/);
});
