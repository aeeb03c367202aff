import { readFile } from 'node:fs/promises';
import { ClipGenError, invalidArgument } from '@clip-gen/errors';
import type { ServerTls } from '@clip-gen/serving';
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

async function readPem(name: string, path: string): Promise<Buffer> {
  try {
    return await readFile(path);
  } catch (cause) {
    const reason = cause instanceof Error && 'code' in cause ? String(cause.code) : String(cause);
    throw new ClipGenError('not_found', `${name}: ${path} cannot be read (${reason})`, { cause });
  }
}
