import { ClipGenError, type ErrorCode } from '@clip-gen/errors';
import { ServerError, Status } from 'nice-grpc';

/** What an error code is on the wire. */
export interface ErrorStatus {
  readonly grpc: Status;
  readonly http: number;
}

/** The one table of errors: our codes, gRPC's, HTTP's. */
export const ERROR_STATUS: Readonly<Record<ErrorCode, ErrorStatus>> = {
  invalid_argument: { grpc: Status.INVALID_ARGUMENT, http: 400 },
  not_found: { grpc: Status.NOT_FOUND, http: 404 },
  unauthenticated: { grpc: Status.UNAUTHENTICATED, http: 401 },
  data_corrupt: { grpc: Status.DATA_LOSS, http: 500 },
  failed_precondition: { grpc: Status.FAILED_PRECONDITION, http: 400 },
  resource_exhausted: { grpc: Status.RESOURCE_EXHAUSTED, http: 429 },
  unavailable: { grpc: Status.UNAVAILABLE, http: 503 },
  cancelled: { grpc: Status.CANCELLED, http: 499 },
  deadline_exceeded: { grpc: Status.DEADLINE_EXCEEDED, http: 504 },
  unimplemented: { grpc: Status.UNIMPLEMENTED, http: 501 },
  internal: { grpc: Status.INTERNAL, http: 500 },
};

/** Codes that our servers never send, but others do. */
const FOREIGN: Readonly<Partial<Record<Status, ErrorCode>>> = {
  [Status.OUT_OF_RANGE]: 'invalid_argument',
  [Status.ALREADY_EXISTS]: 'failed_precondition',
  [Status.PERMISSION_DENIED]: 'unauthenticated',
  [Status.ABORTED]: 'unavailable',
};

const CODES = new Map<Status, ErrorCode>(
  (Object.keys(ERROR_STATUS) as ErrorCode[]).map((code) => [ERROR_STATUS[code].grpc, code]),
);

/** The code of a gRPC status other than OK; `internal` for those that nobody knows. */
export function errorCode(status: Status): ErrorCode {
  return CODES.get(status) ?? FOREIGN[status] ?? 'internal';
}

/** The trailer with milliseconds after which the same call may succeed. */
export const RETRY_AFTER_TRAILER = 'retry-after-ms';

/** Characters of a message at most: it travels in a header. */
const MESSAGE_LIMIT = 1_000;

/**
 * What a caller is told of an error that a handler threw. A ClipGenError's message is meant for callers, except where the
 * fault is ours (`internal`): those, and all other errors, are told by the request id alone, under which the log has them.
 */
export function toServerError(error: unknown, requestId: string): ServerError {
  if (error instanceof ServerError) return error;
  if (error instanceof ClipGenError && error.code !== 'internal') {
    const { message } = error;
    return new ServerError(
      ERROR_STATUS[error.code].grpc,
      message.length > MESSAGE_LIMIT ? `${message.slice(0, MESSAGE_LIMIT - 3)}...` : message,
    );
  }
  if (error instanceof Error && error.name === 'AbortError') {
    return new ServerError(Status.CANCELLED, 'the call was cancelled');
  }
  return new ServerError(Status.INTERNAL, `internal error; the server's log has it under request ${requestId}`);
}
