import { parentPort, receiveMessageOnPort, workerData } from 'node:worker_threads';
import { ClipGenError } from '@clip-gen/errors';
import { nativeCalls } from '../native/native-calls.ts';
import { connectRank, type ConnectedRank } from './connected-rank.ts';
import type { Answer, ErrorMessage, Request, ThreadOptions } from './messages.ts';

/** About what falling asleep and being woken take. */
const SPIN_MS = 0.2;

// What runs inside the thread of a rank: joins, then carries out the requests of the thread that computes.

if (parentPort === null) throw new ClipGenError('internal', 'communication-thread must run in a worker thread');
const port = parentPort;
const send = (answer: Answer): void => port.postMessage(answer);

let rank: ConnectedRank | undefined;
try {
  rank = await connectRank(workerData as ThreadOptions, (failure) => send({ kind: 'failed', failure }));
  send({ kind: 'joined', memory: rank.memory });
} catch (error) {
  send({ kind: 'refused', error: messageOf(error) });
}
port.on('message', (request: Request) => hear(request));

function hear(request: Request): void {
  if (request.kind === 'abort') return rank?.abort(request.reason);
  const { id } = request;
  perform(request).then(
    (value) => {
      send({ kind: 'done', id, value });
      if (request.kind === 'call') awaitNext();
    },
    (error: unknown) => send({ kind: 'error', id, error: messageOf(error) }),
  );
}

/** Calls often come one right after the other: the next is waited for awake for a moment. */
function awaitNext(): void {
  const native = nativeCalls();
  if (!native) return;
  const until = performance.now() + SPIN_MS;
  while (performance.now() < until) {
    const next: { readonly message: Request } | undefined = receiveMessageOnPort(port);
    if (next) return hear(next.message);
    native.yieldCore();
  }
}

async function perform(request: Exclude<Request, { kind: 'abort' }>) {
  if (!rank) throw new ClipGenError('failed_precondition', 'this rank has not joined');
  switch (request.kind) {
    case 'call':
      return rank.run(request.call, request.pieces);
    case 'allocate':
      return rank.allocate(request.elements);
    case 'lend':
      return rank.lend(request.address, request.bytes);
    case 'statistics':
      return rank.statistics();
    case 'close':
      return rank.close(request.gone);
  }
}

function messageOf(error: unknown): ErrorMessage {
  const code = error instanceof ClipGenError ? error.code : 'internal';
  return { code, message: error instanceof Error ? error.message : String(error) };
}
