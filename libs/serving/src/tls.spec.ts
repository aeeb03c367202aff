import { ClipEmbeddingDefinition } from '@clip-gen/contracts';
import { readFile } from 'node:fs/promises';
import { expect, it } from 'vitest';
import { embedding, testConnection, testServer } from './test-services.ts';

const pem = (name: string) => readFile(new URL(`../test-certificates/${name}`, import.meta.url));
const authority = await pem('authority.pem');
const serverTls = { certificate: await pem('server.pem'), key: await pem('server.key') };
const clientPair = { certificate: await pem('client.pem'), key: await pem('client.key') };
const serverName = 'sampler.test';

const services = [embedding({ getModel: () => Promise.resolve({ imageSize: 3 }) })];
const retry = { attempts: 1 };

it('encrypts, for clients that know the authority and the name', async () => {
  const { address } = await testServer(services, { tls: serverTls });
  const { client } = testConnection(ClipEmbeddingDefinition, address, { tls: { authority, serverName } });
  expect(await client.getModel({})).toMatchObject({ imageSize: 3 });
});

it.each([
  ['an authority that nobody knows', { serverName }],
  ['another name', { authority, serverName: 'other.test' }],
  ['no TLS at all', undefined],
])('does not talk with %s', async (_, tls) => {
  const { address } = await testServer(services, { tls: serverTls });
  const { client } = testConnection(ClipEmbeddingDefinition, address, { tls, retry });
  await expect(client.getModel({})).rejects.toMatchObject({ code: 'unavailable' });
});

it('demands a certificate of clients where told to', async () => {
  const { address } = await testServer(services, { tls: { ...serverTls, clientAuthority: authority } });
  const stranger = testConnection(ClipEmbeddingDefinition, address, { tls: { authority, serverName }, retry });
  await expect(stranger.client.getModel({})).rejects.toMatchObject({ code: 'unavailable' });
  const known = testConnection(ClipEmbeddingDefinition, address, { tls: { authority, serverName, ...clientPair } });
  expect(await known.client.getModel({})).toMatchObject({ imageSize: 3 });
});

it('says what is wrong with a certificate', async () => {
  const broken = { certificate: Buffer.from('not PEM'), key: serverTls.key };
  await expect(testServer(services, { tls: broken })).rejects.toMatchObject({
    code: 'invalid_argument',
    message: expect.stringMatching(/^tls must be PEM certificates with their keys; /),
  });
  expect(() => testConnection(ClipEmbeddingDefinition, 'a:1', { tls: broken })).toThrow(/^tls must be PEM/);
  const mixed = { certificate: serverTls.certificate, key: clientPair.key };
  await expect(testServer(services, { tls: mixed })).rejects.toMatchObject({ code: 'invalid_argument' });
});
