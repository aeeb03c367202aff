import { readFile } from 'node:fs/promises';
import { ClipGenError, invalidArgument } from '@clip-gen/errors';
import { flagName } from '@clip-gen/config';
import { checkClientTls, checkServerTls, type ClientTls, type ServerTls } from '@clip-gen/serving';
import type { ServiceSettings } from './service-settings.ts';

/**
 * Certificate, key and client authority, or nothing where no certificate is named.
 *
 * @throws invalid_argument when one of certificate and key stands alone, or what they hold is no PEM or does not belong
 * together; not_found for a file that cannot be read
 */
export async function readTls(
  settings: Pick<ServiceSettings, 'tlsCert' | 'tlsKey' | 'tlsClientCa'>,
): Promise<ServerTls | undefined> {
  const { tlsCert, tlsKey, tlsClientCa } = settings;
  if (tlsCert === '' && tlsKey === '' && tlsClientCa === '') return undefined;
  if (tlsCert === '') throw invalidArgument('--tls-cert', 'given with --tls-key and --tls-client-ca', tlsCert);
  if (tlsKey === '') throw invalidArgument('--tls-key', 'given with --tls-cert', tlsKey);
  const [certificate, key, clientAuthority] = await Promise.all([
    readPem('tlsCert', tlsCert),
    readPem('tlsKey', tlsKey),
    tlsClientCa === '' ? undefined : readPem('tlsClientCa', tlsClientCa),
  ]);
  const tls = { certificate, key, ...(clientAuthority && { clientAuthority }) };
  inFiles({ tlsCert, tlsKey, tlsClientCa }, () => checkServerTls(tls));
  return tls;
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
    if (alone !== undefined) {
      throw invalidArgument('--peer-ca', 'given with --peer-cert, --peer-key and --peer-name', peerCa);
    }
    return undefined;
  }
  if ((peerCert === '') !== (peerKey === '')) {
    throw invalidArgument('--peer-cert', 'given with --peer-key', peerCert);
  }
  const authority = await readPem('peerCa', peerCa);
  const pair = peerCert !== '' && {
    certificate: await readPem('peerCert', peerCert),
    key: await readPem('peerKey', peerKey),
  };
  const tls = { authority, ...pair, ...(peerName !== '' && { serverName: peerName }) };
  inFiles({ peerCa, peerCert, peerKey }, () => checkClientTls(tls));
  return tls;
}

/** Names the files that were read in what is wrong with them. */
function inFiles(files: Readonly<Record<string, string>>, check: () => void): void {
  try {
    check();
  } catch (cause) {
    if (!(cause instanceof ClipGenError)) throw cause;
    const given = Object.entries(files).filter(([, path]) => path !== '');
    const named = given.map(([setting, path]) => `${flagName(setting)} ${path}`).join(', ');
    throw new ClipGenError(cause.code, `${named}: ${cause.message}`, { cause });
  }
}

async function readPem(name: string, path: string): Promise<Buffer> {
  try {
    return await readFile(path);
  } catch (cause) {
    const reason = cause instanceof Error && 'code' in cause ? String(cause.code) : String(cause);
    throw new ClipGenError('not_found', `${flagName(name)}: ${path} cannot be read (${reason})`, { cause });
  }
}
