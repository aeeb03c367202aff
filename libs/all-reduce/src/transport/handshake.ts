import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto';
import type { Socket } from 'node:net';
import { ClipGenError } from '@clip-gen/errors';

/** Version of everything that ranks say to each other. */
export const PROTOCOL_VERSION = 1;

const MAGIC = Buffer.from('clipgenR', 'latin1');
const NONCE_BYTES = 32;
const PROOF_BYTES = 32;
/** From the side that was called: magic, nonce. */
export const GREETING_BYTES = MAGIC.length + NONCE_BYTES;
/** From the side that calls: magic, sender, receiver, channel, nonce, proof. */
export const REPLY_BYTES = MAGIC.length + 12 + NONCE_BYTES + PROOF_BYTES;
/** From the side that was called: its own proof. */
export const CONFIRMATION_BYTES = PROOF_BYTES;

/** What a connection is for: frames from one rank to another. The receiver calls. */
export interface Lane {
  readonly sender: number;
  readonly receiver: number;
  readonly channel: number;
}

/** The secret of one group in one epoch, known to whoever knows the token. */
export function groupKey(token: string, groupId: Uint8Array): Buffer {
  return createHmac('sha256', token).update('clip-gen group').update(groupId).digest();
}

/** What the side that was called says first. */
export function greeting(): Buffer {
  return Buffer.concat([MAGIC, randomBytes(NONCE_BYTES)]);
}

/** The caller's answer to a greeting; undefined when that is not one. */
export function replyTo(greeted: Uint8Array, key: Uint8Array, lane: Lane): Buffer | undefined {
  if (!isMagic(greeted)) return undefined;
  const words = Buffer.alloc(12);
  words.writeUInt32LE(lane.sender, 0);
  words.writeUInt32LE(lane.receiver, 4);
  words.writeUInt32LE(lane.channel, 8);
  const nonce = randomBytes(NONCE_BYTES);
  return Buffer.concat([MAGIC, words, nonce, proof(key, 'receiver', greeted, words, nonce)]);
}

/** Which lane the caller wants, if it knows the key. */
export function laneOfReply(greeted: Uint8Array, reply: Uint8Array, key: Uint8Array): Lane | undefined {
  if (!isMagic(reply)) return undefined;
  const { words, nonce, given } = partsOf(reply);
  if (!timingSafeEqual(proof(key, 'receiver', greeted, words, nonce), given)) return undefined;
  return { sender: words.readUInt32LE(0), receiver: words.readUInt32LE(4), channel: words.readUInt32LE(8) };
}

/** Proves to the caller that this side knows the key too. */
export function confirmation(greeted: Uint8Array, reply: Uint8Array, key: Uint8Array): Buffer {
  const { words, nonce } = partsOf(reply);
  return proof(key, 'sender', greeted, words, nonce);
}

/** Whether the other side has proved that it knows the key. */
export function isConfirmation(given: Uint8Array, greeted: Uint8Array, reply: Uint8Array, key: Uint8Array): boolean {
  return timingSafeEqual(given, confirmation(greeted, reply, key));
}

/**
 * The first bytes of a connection that anybody may have made.
 *
 * @throws unavailable when it ends, takes too long or says more than it may
 */
export function readFirst(socket: Socket, byteLength: number, timeoutMs: number): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    let got = Buffer.alloc(0);
    const finish = (error?: ClipGenError): void => {
      clearTimeout(timer);
      socket.off('data', onData).off('close', onClose);
      if (error) reject(error);
      else resolve(got);
    };
    const refuse = (reason: string): void => finish(new ClipGenError('unavailable', `a connection ${reason}`));
    const onData = (chunk: Buffer): void => {
      got = Buffer.concat([got, chunk]);
      if (got.length > byteLength) refuse('said more than its name');
      else if (got.length === byteLength) finish();
    };
    const onClose = (): void => refuse('ended before it said its name');
    const timer = setTimeout(() => refuse(`did not say its name within ${timeoutMs} ms`), timeoutMs);
    socket.on('data', onData).on('close', onClose);
  });
}

function isMagic(bytes: Uint8Array): boolean {
  return Buffer.compare(bytes.subarray(0, MAGIC.length), MAGIC) === 0;
}

function partsOf(reply: Uint8Array): { words: Buffer; nonce: Buffer; given: Buffer } {
  const bytes = Buffer.from(reply.buffer, reply.byteOffset, reply.byteLength).subarray(MAGIC.length);
  return {
    words: bytes.subarray(0, 12),
    nonce: bytes.subarray(12, 12 + NONCE_BYTES),
    given: bytes.subarray(12 + NONCE_BYTES),
  };
}

function proof(key: Uint8Array, side: string, ...parts: readonly Uint8Array[]): Buffer {
  const hmac = createHmac('sha256', key).update(side);
  for (const part of parts) hmac.update(part);
  return hmac.digest();
}
