import { createHmac, timingSafeEqual } from 'node:crypto';
import type { Join } from './generated/rendezvous.ts';

/** What shows that a rank knows the token, for one challenge. */
export function joinProof(token: string, nonce: Uint8Array, join: Join): Buffer {
  const { protocol, rank, worldSize, epoch } = join;
  return hmac(token, 'rank', nonce, Buffer.from(`${protocol} ${rank} ${worldSize} ${epoch}`));
}

/** What shows that the store knows it. */
export function storeProof(token: string, nonce: Uint8Array, groupId: Uint8Array): Buffer {
  return hmac(token, 'store', nonce, groupId);
}

/** Whether a proof is the expected one, in a time that does not depend on where they differ. */
export function isProof(given: Uint8Array, expected: Uint8Array): boolean {
  return given.length === expected.length && timingSafeEqual(given, expected);
}

function hmac(token: string, side: string, ...parts: readonly Uint8Array[]): Buffer {
  const result = createHmac('sha256', token).update(`clip-gen ${side}\n`);
  for (const part of parts) result.update(part);
  return result.digest();
}
