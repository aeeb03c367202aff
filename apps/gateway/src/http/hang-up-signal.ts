import type { FastifyReply } from 'fastify';

/** Aborts when the client's connection closes before its answer was sent. */
export function hangUpSignal(reply: FastifyReply): AbortSignal {
  const control = new AbortController();
  reply.raw.once('close', () => {
    if (!reply.raw.writableFinished) control.abort();
  });
  if (reply.raw.destroyed) control.abort();
  return control.signal;
}
