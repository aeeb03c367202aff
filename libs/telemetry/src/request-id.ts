import { AsyncLocalStorage } from 'node:async_hooks';
import { randomUUID } from 'node:crypto';

const storage = new AsyncLocalStorage<string>();
const VALID = /^[A-Za-z0-9_-]{1,64}$/;

/** A fresh id, 36 characters. */
export function newRequestId(): string {
  return randomUUID();
}

/**
 * Runs `work` so that all of it, across awaits, timers and callbacks, sees `id` as the current request.
 *
 * A generator's body runs in the context of whoever calls `next()`: wrap each such call, not its creation.
 *
 * @param id 1 to 64 letters, digits, `_` or `-`; anything else, as strangers may send it, is replaced by a new id
 */
export function withRequestId<T>(id: string | undefined, work: () => T): T {
  return storage.run(acceptRequestId(id), work);
}

/** The id of the request that this code works for; undefined outside any. */
export function currentRequestId(): string | undefined {
  return storage.getStore();
}

/** `id` if it is one, else a new one. */
export function acceptRequestId(id: string | undefined): string {
  return id !== undefined && VALID.test(id) ? id : newRequestId();
}
