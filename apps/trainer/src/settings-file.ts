import { ClipGenError, invalidArgument } from '@clip-gen/errors';
import { readText } from './read-text.ts';

/**
 * The settings of a JSON file with each `name=value` applied over it; not checked against a schema yet.
 *
 * @throws not_found when there is no such file, data_corrupt when it holds no JSON object; resource_exhausted,
 * failed_precondition when it is too large or cannot be read
 * @throws invalid_argument for an assignment that is none
 */
export async function readSettings(file: string | undefined, assignments: readonly string[]): Promise<Settings> {
  const settings = file === undefined ? {} : await readObject(file);
  for (const assignment of assignments) assign(settings, assignment);
  return settings;
}

type Settings = Record<string, unknown>;

async function readObject(file: string): Promise<Settings> {
  const text = await readText(file).catch((cause: unknown) => {
    if (!(cause instanceof ClipGenError)) throw cause;
    throw new ClipGenError(cause.code, `--config ${cause.message}`, { cause });
  });
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new ClipGenError('data_corrupt', `--config ${file} is not JSON: ${(cause as Error).message}`, { cause });
  }
  if (!isObject(value)) throw new ClipGenError('data_corrupt', `--config ${file} must hold a JSON object`);
  return value;
}

/** Applies `a.b=value`; the value is JSON where it parses as JSON, else a string. @throws invalid_argument */
export function assign(settings: Settings, assignment: string): void {
  const at = assignment.indexOf('=');
  if (at <= 0) throw invalidArgument('--set', 'name=value', assignment);
  const path = assignment.slice(0, at).split('.');
  let target = settings;
  for (const name of path.slice(0, -1)) {
    const inner = Object.hasOwn(target, name) ? target[name] : undefined;
    const next = isObject(inner) ? inner : {};
    if (next !== inner) define(target, name, next);
    target = next;
  }
  define(target, path.at(-1)!, parseValue(assignment.slice(at + 1)));
}

function parseValue(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return text;
  }
}

/** Also for names such as `__proto__`, which a plain assignment would not make a key. */
function define(target: Settings, name: string, value: unknown): void {
  Object.defineProperty(target, name, { value, enumerable: true, writable: true, configurable: true });
}

function isObject(value: unknown): value is Settings {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
