import { ClipGenError, invalidArgument } from '@clip-gen/errors';

/** An error of the caller's that one field of the request is the cause of. */
export class InvalidField extends ClipGenError {
  /** @param field its name in the request: `prompt`, `sampling.top_k` */
  constructor(
    readonly field: string,
    message: string,
  ) {
    super('invalid_argument', message);
  }
}

/** `n must be an integer in [1, 10]; got 11` */
export function invalidField(field: string, bound: string, got: unknown): InvalidField {
  return new InvalidField(field, invalidArgument(field, bound, got).message);
}
