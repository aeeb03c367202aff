import { readFile, stat } from 'node:fs/promises';
import { ClipGenError } from '@clip-gen/errors';
import { parseDocument } from 'yaml';

const MAX_SETTINGS_BYTES = 1 << 20;

/** A settings file as plain data: objects, lists, numbers, strings. */
export class Settings {
  constructor(
    readonly path: string,
    private readonly value: unknown,
  ) {}

  /** What lies at a path of keys; undefined when there is nothing. */
  at(...keys: readonly string[]): unknown {
    let value = this.value;
    for (const key of keys) {
      if (typeof value !== 'object' || value === null || !Object.hasOwn(value, key)) return undefined;
      value = (value as Readonly<Record<string, unknown>>)[key];
    }
    return value;
  }

  has(...keys: readonly string[]): boolean {
    return this.at(...keys) !== undefined;
  }

  /** @throws failed_precondition for anything else */
  number(...keys: readonly string[]): number | undefined {
    const value = this.at(...keys);
    if (value === undefined || value === null) return undefined;
    if (typeof value === 'number' && Number.isFinite(value)) return value;
    throw this.refused(keys, 'a number', value);
  }

  /** @throws failed_precondition for anything else */
  numbers(...keys: readonly string[]): readonly number[] | undefined {
    const value = this.at(...keys);
    if (value === undefined || value === null) return undefined;
    if (Array.isArray(value) && value.every((item) => typeof item === 'number')) return value;
    throw this.refused(keys, 'a list of numbers', value);
  }

  refused(keys: readonly string[], bound: string, got: unknown): ClipGenError {
    const shown = (JSON.stringify(got) ?? 'nothing').slice(0, 80);
    return new ClipGenError('failed_precondition', `${this.path}: ${keys.join('.')} must be ${bound}; got ${shown}`);
  }
}

/**
 * Reads a YAML file, of which JSON is a part. Anchors are not resolved beyond 100 uses, tags make nothing but plain data.
 *
 * @throws not_found; resource_exhausted past 1 MiB; data_corrupt when it is no YAML
 */
export async function readSettings(path: string): Promise<Settings> {
  const found = await stat(path).catch((cause: unknown) => {
    throw new ClipGenError('not_found', `${path} does not exist`, { cause });
  });
  if (found.size > MAX_SETTINGS_BYTES) {
    throw new ClipGenError('resource_exhausted', `${path} must have at most ${MAX_SETTINGS_BYTES} bytes`);
  }
  const text = await readFile(path, 'utf8').catch((cause: unknown) => {
    throw new ClipGenError('failed_precondition', `${path} cannot be read`, { cause });
  });
  try {
    const document = parseDocument(text, { schema: 'core' });
    const [error] = document.errors;
    if (error) throw error;
    return new Settings(path, document.toJS({ maxAliasCount: 100 }));
  } catch (cause) {
    const reason = cause instanceof Error ? (cause.message.split('\n')[0] ?? '') : String(cause);
    throw new ClipGenError('data_corrupt', `${path} must be YAML or JSON: ${reason}`, { cause });
  }
}
