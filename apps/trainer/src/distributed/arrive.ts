import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { ClipGenError } from '@clip-gen/errors';
import { hearPoint, isProven, newNonce, prove, say, type Arrival, type Invitation } from './meeting-messages.ts';

/** The training ended while this process waited to be let in. */
export class TrainingOver extends Error {
  override readonly name = 'TrainingOver';
}

const RETRY_MS = 300;
const CONNECT_MS = 10_000;
const KEEPALIVE_MS = 10_000;

/**
 * Waits at the meeting point of rank 0 to be invited into the next group: as long as rank 0 is there.
 *
 * @param absentMs how long rank 0 may be absent, e.g. while it is started again
 * @throws TrainingOver when rank 0 says so
 * @throws failed_precondition when rank 0 refuses this process or is absent for too long
 */
export async function arrive(
  host: string,
  port: number,
  token: string,
  who: Omit<Arrival, 'nonce'>,
  absentMs: number,
): Promise<Invitation> {
  const seen = { ms: performance.now() };
  for (;;) {
    const invitation = await attempt(host, port, token, who, seen);
    if (invitation) return invitation;
    if (performance.now() - seen.ms > absentMs) {
      throw new ClipGenError(
        'failed_precondition',
        `rank 0 did not answer at ${host}:${port} for ${absentMs / 1000} s: it is gone, and the training with it`,
      );
    }
    await sleep(RETRY_MS);
  }
}

/** One connection. @returns nothing when it broke */
function attempt(
  host: string,
  port: number,
  token: string,
  who: Omit<Arrival, 'nonce'>,
  seen: { ms: number },
): Promise<Invitation | undefined> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host, port });
    const arrival: Arrival = { ...who, nonce: newNonce() };
    const patience = setTimeout(() => socket.destroy(), CONNECT_MS);
    let greeted = false;
    hearPoint(socket, (message) => {
      if ('nonce' in message) {
        greeted = true;
        clearTimeout(patience);
        socket.setKeepAlive(true, KEEPALIVE_MS);
        say(socket, { arrival, proof: prove(token, message.nonce, arrival) });
      } else if ('refused' in message) {
        reject(new ClipGenError('failed_precondition', message.refused));
      } else if ('invitation' in message) {
        const { invitation, proof } = message;
        if (isProven(proof, token, arrival.nonce, invitation)) resolve(invitation);
        socket.end();
      } else {
        if (isProven(message.proof, token, arrival.nonce, 'over')) {
          reject(new TrainingOver('the training has ended'));
        }
        socket.end();
      }
    });
    socket.on('error', () => undefined); // 'close' follows
    socket.once('close', () => {
      clearTimeout(patience);
      if (greeted) seen.ms = performance.now();
      resolve(undefined);
    });
  });
}
