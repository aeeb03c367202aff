/**
 * What kind of failure it is. A closed set, named as gRPC names its status codes so that a service maps them one to one.
 *
 * - `invalid_argument`: the caller gave something out of bounds; the message names the argument, the bound and the value.
 * - `not_found`: a file, model or name that does not exist.
 * - `unauthenticated`: the caller has not shown who it is.
 * - `data_corrupt`: a file exists but its bytes are not what they must be.
 * - `failed_precondition`: right input, wrong state (a checkpoint of another model, a missing earlier stage).
 * - `resource_exhausted`: memory, disk or a queue is full, or a file is larger than its limit.
 * - `unavailable`: a device, provider or peer that is not there now; the same call may succeed later.
 * - `cancelled`: the caller asked for the work to stop.
 * - `deadline_exceeded`: the time that the caller allowed ran out first.
 * - `unimplemented`: valid, but this program does not do it (an element type without a kernel).
 * - `internal`: a fault of this program or of a library beneath it; `cause` has what is known.
 */
export type ErrorCode =
  | 'invalid_argument'
  | 'not_found'
  | 'unauthenticated'
  | 'data_corrupt'
  | 'failed_precondition'
  | 'resource_exhausted'
  | 'unavailable'
  | 'cancelled'
  | 'deadline_exceeded'
  | 'unimplemented'
  | 'internal';

/** The one error class of clip-gen. The message is one line that a person can act on. */
export class ClipGenError extends Error {
  override readonly name = 'ClipGenError';
  /** When the same call may succeed, in milliseconds from now; undefined where nobody can tell. */
  readonly retryAfterMs: number | undefined;

  constructor(
    readonly code: ErrorCode,
    message: string,
    options?: { cause?: unknown; retryAfterMs?: number },
  ) {
    super(message, options);
    this.retryAfterMs = options?.retryAfterMs;
  }
}

/**
 * `topK must be in [1, 16384]; got 0`
 *
 * @param argument the argument's name as the caller wrote it
 * @param bound what it must be, as a phrase that follows "must be"
 * @param got the offending value; long strings are shortened
 */
export function invalidArgument(argument: string, bound: string, got: unknown): ClipGenError {
  const shown =
    typeof got === 'string' ? JSON.stringify(got.length > 80 ? `${got.slice(0, 77)}...` : got) : String(got);
  return new ClipGenError('invalid_argument', `${argument} must be ${bound}; got ${shown}`);
}
