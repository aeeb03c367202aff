import { parentPort } from 'node:worker_threads';
import { ClipGenError } from '@clip-gen/errors';
import { setCodecThreads } from '@clip-gen/image';
import { assembleBatch, decodeFiles } from './image-jobs.ts';
import type { Answer, Request } from './worker-messages.ts';

// What runs inside a worker thread: answers each request of the main thread.

if (parentPort === null) throw new ClipGenError('internal', 'image-worker must run in a worker thread');
const port = parentPort;
// Pictures are decoded side by side; more threads for one of them would only contend.
setCodecThreads(1);

let chunks: readonly SharedArrayBuffer[] = [];

port.on('message', (request: Request) => {
  if ('kind' in request) chunks = request.chunks;
  else void answer(request.id, request.job);
});

async function answer(id: number, job: Extract<Request, { id: number }>['job']): Promise<void> {
  try {
    if (job.kind === 'decode') {
      send({ id, result: await decodeFiles(job) });
    } else {
      const result = await assembleBatch(job, chunks);
      send({ id, result }, [result.pixels.buffer]);
    }
  } catch (error) {
    const code = error instanceof ClipGenError ? error.code : 'internal';
    send({ id, error: { code, message: error instanceof Error ? error.message : String(error) } });
  }
}

function send(message: Answer, transfer: ArrayBuffer[] = []): void {
  port.postMessage(message, transfer);
}
