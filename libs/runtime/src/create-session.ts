import { ClipGenError } from '@clip-gen/errors';
import { createCApiSession } from './c-api/c-api-session.ts';
import { loadLibrary } from './c-api/library.ts';
import { createNodeSession } from './node-backend/node-session.ts';
import { oneOf, resolveOptions } from './options.ts';
import type { Session, SessionOptions } from './session.ts';

const BACKENDS = ['auto', 'c-api', 'node'] as const;

/**
 * Loads an ONNX model. The work is done on another thread; the event loop goes on.
 *
 * @param model a serialised `ModelProto`; unchanged by the caller until the promise settles, not kept afterwards
 * @throws invalid_argument for an option out of bounds
 * @throws data_corrupt when the bytes are no model that ONNX Runtime accepts
 * @throws not_found when a file of external data is missing
 * @throws unimplemented when an input or output is no tensor or of a dtype that tensors here cannot hold
 * @throws unavailable when the provider or the chosen backend is not there
 */
export async function createSession(model: Uint8Array, options: SessionOptions = {}): Promise<Session> {
  const { backend = 'auto' } = options;
  oneOf('backend', backend, BACKENDS);
  const resolved = resolveOptions(options);
  if (model.byteLength === 0) throw new ClipGenError('data_corrupt', 'the model holds no bytes');
  if ((await chosenBackend(backend)) === 'c-api') return createCApiSession(model, resolved);
  return createNodeSession(model, resolved);
}

/**
 * The backend of the sessions that {@link createSession} makes with this option: what `auto` (default) is on this machine.
 *
 * @throws invalid_argument for another name
 */
export async function chosenBackend(backend: SessionOptions['backend'] = 'auto'): Promise<Session['backend']> {
  oneOf('backend', backend, BACKENDS);
  if (backend !== 'auto') return backend;
  return (await loads()) ? 'c-api' : 'node';
}

async function loads(): Promise<boolean> {
  try {
    await loadLibrary();
    return true;
  } catch (error) {
    if (error instanceof ClipGenError && error.code === 'unavailable') return false;
    throw error;
  }
}
