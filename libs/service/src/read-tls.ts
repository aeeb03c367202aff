import { readFile } from 'node:fs/promises';
import { ClipGenError, invalidArgument } from '@clip-gen/errors';
import type { ClientTls, ServerTls } from '@clip-gen/serving';
import type { ServiceSettings } from './service-settings.ts';

/**
 * Certificate, key and client authority, or nothing where no certificate is named.
 *
 * @throws invalid_argument when one of certificate and key stands alone; not_found for a file that cannot be read
 */
export async function readTls(
  settings: Pick<ServiceSettings, 'tlsCert' | 'tlsKey' | 'tlsClientCa'>,
): Promise<ServerTls | undefined> {
  const { tlsCert, tlsKey, tlsClientCa } = settings;
  if (tlsCert === '' && tlsKey === '' && tlsClientCa === '') return undefined;
  if (tlsCert === '') throw invalidArgument('tlsCert', 'given with tlsKey and tlsClientCa', tlsCert);
  if (tlsKey === '') throw invalidArgument('tlsKey', 'given with tlsCert', tlsKey);
  const [certificate, key, clientAuthority] = await Promise.all([
    readPem('tlsCert', tlsCert),
    readPem('tlsKey', tlsKey),
    tlsClientCa === '' ? undefined : readPem('tlsClientCa', tlsClientCa),
  ]);
  return { certificate, key, ...(clientAuthority && { clientAuthority }) };
}

/**
 * What a client trusts and shows, or nothing where no authority is named.
 *
 * @throws invalid_argument when a certificate, key or name stands without what it belongs to; not_found for a file that
 * cannot be read
 */
export async function readClientTls(settings: {
  readonly peerCa: string;
  readonly peerCert: string;
  readonly peerKey: string;
  readonly peerName: string;
}): Promise<ClientTls | undefined> {
  const { peerCa, peerCert, peerKey, peerName } = settings;
  if (peerCa === '') {
    const alone = [peerCert, peerKey, peerName].find((value) => value !== '');
    if (alone !== undefined) throw invalidArgument('peerCa', 'given with peerCert, peerKey and peerName', peerCa);
    return undefined;
  }
  if ((peerCert === '') !== (peerKey === '')) throw invalidArgument('peerCert', 'given with peerKey', peerCert);
  const authority = await readPem('peerCa', peerCa);
  const pair = peerCert !== '' && {
    certificate: await readPem('peerCert', peerCert),
    key: await readPem('peerKey', peerKey),
  };
  return { authority, ...pair, ...(peerName !== '' && { serverName: peerName }) };
}

async function readPem(name: string, path: string): Promise<Buffer> {
  try {
    return await readFile(path);
  } catch (cause) {
    const reason = cause instanceof Error && 'code' in cause ? String(cause.code) : String(cause);
    throw new ClipGenError('not_found', `${name}: ${path} cannot be read (${reason})`, { cause });
  }
}
