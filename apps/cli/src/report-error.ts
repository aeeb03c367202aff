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
  const text = ofSystem(error) ?? (error instanceof Error ? error.message : String(error));
  const line = text.trim().replace(/\s*\n\s*/g, '; ');
  const flagged = line.replace(/^(\w+)(?= must be )/, (name) => FLAGS[name] ?? name);
  const hint = known || debug || ofSystem(error) !== undefined ? '' : ' (CLIP_GEN_DEBUG=1 shows where)';
  process.stderr.write(`clip-gen: ${flagged}${hint}\n`);
  if (debug) process.stderr.write(`${explain(error)}\n`);
  return known ? EXIT_CODES[error.code] : FAILURE_EXIT_CODE;
}

/** What people can do something about, of all that the system refuses of files. */
const SYSTEM_ERRORS: Readonly<Record<string, string>> = {
  ENOSPC: 'the disk is full; make room, then run the same command again',
  EDQUOT: 'the disk quota is used up; make room, then run the same command again',
  EROFS: 'the disk is read-only; name another folder',
  EACCES: 'no permission; name another file or folder, or change its permissions',
  EPERM: 'no permission; name another file or folder, or change its permissions',
  EMFILE: 'too many open files; raise the limit (ulimit -n)',
  ENFILE: 'too many open files on this machine',
  ENOMEM: 'there is not enough memory',
};

/** An error of the system's in words, with the file where it is known; undefined for all others. */
function ofSystem(error: unknown): string | undefined {
  if (!(error instanceof Error) || !('syscall' in error) || !('code' in error)) return undefined;
  if (/^(listen|connect|bind|kill|spawn)\b/.test(String(error.syscall))) return undefined; // of ports and processes
  const words = SYSTEM_ERRORS[String(error.code)];
  if (words === undefined) return undefined;
  const path = 'path' in error && typeof error.path === 'string' ? `${error.path}: ` : '';
  return `${path}${words} (${String(error.code)})`;
}

function explain(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const stack = error.stack ?? error.message;
  return error.cause === undefined ? stack : `${stack}\ncaused by ${explain(error.cause)}`;
}
