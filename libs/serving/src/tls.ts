import { ClipGenError } from '@clip-gen/errors';
import { ChannelCredentials, ServerCredentials } from '@grpc/grpc-js';
import { X509Certificate } from 'node:crypto';
import { createSecureContext } from 'node:tls';

/** What a server shows and demands; all in PEM. */
export interface ServerTls {
  readonly certificate: Uint8Array;
  readonly key: Uint8Array;
  /** Where given, clients must show a certificate that this authority signed. */
  readonly clientAuthority?: Uint8Array;
}

/** What a client trusts and shows; all in PEM. */
export interface ClientTls {
  /** Who signs servers' certificates. Default: the authorities that Node trusts. */
  readonly authority?: Uint8Array;
  /** The client's own certificate with its key, where the server demands one. */
  readonly certificate?: Uint8Array;
  readonly key?: Uint8Array;
  /** The name that servers' certificates are for. Default: the first address's host. */
  readonly serverName?: string;
}

/** @throws ClipGenError `invalid_argument` for what is no PEM, or a key that is not the certificate's */
export function checkServerTls(tls: ServerTls): void {
  serverCredentials(tls);
}

/** @throws ClipGenError `invalid_argument` for what is no PEM, or a key that is not the certificate's */
export function checkClientTls(tls: ClientTls): void {
  channelCredentials(tls);
}

/** @throws ClipGenError `invalid_argument` for what is no PEM, or a key that is not the certificate's */
export function serverCredentials(tls: ServerTls | undefined): ServerCredentials {
  if (tls === undefined) return ServerCredentials.createInsecure();
  const { certificate, key, clientAuthority } = tls;
  const [cert, privateKey, ca] = [certificate, key, clientAuthority].map((pem) => pem && Buffer.from(pem));
  return readable(() => {
    checkCertificates(cert, ca);
    createSecureContext({ cert, key: privateKey, ca }); // gRPC would only look at them when a client comes
    const pair = { cert_chain: Buffer.from(certificate), private_key: Buffer.from(key) };
    return ServerCredentials.createSsl(ca ?? null, [pair], ca !== undefined);
  });
}

/** @throws ClipGenError `invalid_argument` for what is no PEM, or a key that is not the certificate's */
export function channelCredentials(tls: ClientTls | undefined): ChannelCredentials {
  if (tls === undefined) return ChannelCredentials.createInsecure();
  const [authority, key, certificate] = [tls.authority, tls.key, tls.certificate].map((pem) => pem && Buffer.from(pem));
  return readable(() => {
    checkCertificates(authority, certificate);
    return ChannelCredentials.createSsl(authority ?? null, key ?? null, certificate ?? null);
  });
}

/** OpenSSL passes over an authority that is none, and every connection fails then. @throws what Node throws */
function checkCertificates(...all: readonly (Buffer | undefined)[]): void {
  for (const pem of all) if (pem !== undefined) new X509Certificate(pem);
}

function readable<T>(make: () => T): T {
  try {
    return make();
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new ClipGenError('invalid_argument', `tls must be PEM certificates with their keys; ${reason}`, { cause });
  }
}
