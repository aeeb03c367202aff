import { ClipGenError, type ErrorCode } from '@clip-gen/errors';

/** The command line or a file that it names cannot be used. */
export const USAGE_EXIT_CODE = 2;
const FAILURE_EXIT_CODE = 1;
const INTERRUPTED_EXIT_CODE = 130;

const EXIT_CODES: { readonly [C in ErrorCode]: number } = {
  invalid_argument: USAGE_EXIT_CODE,
  not_found: USAGE_EXIT_CODE,
  unauthenticated: FAILURE_EXIT_CODE,
  data_corrupt: USAGE_EXIT_CODE,
  failed_precondition: USAGE_EXIT_CODE,
  resource_exhausted: USAGE_EXIT_CODE,
  unavailable: FAILURE_EXIT_CODE,
  cancelled: INTERRUPTED_EXIT_CODE,
  deadline_exceeded: FAILURE_EXIT_CODE,
  unimplemented: FAILURE_EXIT_CODE,
  internal: FAILURE_EXIT_CODE,
};

/** What the libraries call an argument, and the flag that sets it. */
const FLAGS: Readonly<Record<string, string>> = {
  candidates: '--candidates',
  pictures: '-n',
  seed: '--seed',
  temperature: '--temperature',
  topK: '--top-k',
  topP: '--top-p',
  guidance: '--guidance',
  threads: '--threads',
};

/**
 * Writes an error to stderr: one line, with the stack trace after it in debug mode.
 *
 * @returns the exit code
 */
export function reportError(error: unknown, debug: boolean): number {
  const known = error instanceof ClipGenError;
  const text = error instanceof Error ? error.message : String(error);
  const line = text.trim().replace(/\s*\n\s*/g, '; ');
  const flagged = line.replace(/^(\w+)(?= must be )/, (name) => FLAGS[name] ?? name);
  const hint = known || debug ? '' : ' (CLIP_GEN_DEBUG=1 shows where)';
  process.stderr.write(`clip-gen: ${flagged}${hint}\n`);
  if (debug) process.stderr.write(`${explain(error)}\n`);
  return known ? EXIT_CODES[error.code] : FAILURE_EXIT_CODE;
}

function explain(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const stack = error.stack ?? error.message;
  return error.cause === undefined ? stack : `${stack}\ncaused by ${explain(error.cause)}`;
}
