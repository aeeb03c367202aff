import { ClipGenError } from '@clip-gen/errors';
import { corrupt } from './file-bytes.ts';
import { PickleError, PickleTooLarge } from './pickle-error.ts';
import { readPickle, type PickleMeaning } from './pickle-reader.ts';
import type { PickleValue } from './pickle-value.ts';

/** One pickle of a file, with errors that name the file. @throws data_corrupt, resource_exhausted, what `meaning` throws */
export function unpickle(
  path: string,
  bytes: Uint8Array,
  meaning: PickleMeaning,
  start = 0,
): { value: PickleValue; end: number } {
  try {
    return readPickle(bytes, meaning, start);
  } catch (cause) {
    if (cause instanceof PickleError) throw corrupt(path, `its pickle is broken: ${cause.message}`, cause);
    if (cause instanceof PickleTooLarge) {
      throw new ClipGenError('resource_exhausted', `${path}: its pickle is too large: ${cause.message}`, { cause });
    }
    if (cause instanceof TypeError && 'code' in cause && cause.code === 'ERR_ENCODING_INVALID_ENCODED_DATA') {
      throw corrupt(path, 'its pickle has a text that is no UTF-8', cause);
    }
    throw cause;
  }
}
