import { ClipGenError, type ErrorCode } from '@clip-gen/errors';

/** Why a group is over, the same on every rank. */
export interface Failure {
  readonly code: ErrorCode;
  /** The rank that is to blame; undefined when no single one is. */
  readonly rank: number | undefined;
  /** One line that names the rank. */
  readonly message: string;
}

/** What pending and later calls of a failed group reject with. */
export function failureError({ code, message }: Failure): ClipGenError {
  return new ClipGenError(code, message);
}
