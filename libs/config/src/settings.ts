import { ClipGenError } from '@clip-gen/errors';
import type { Setting } from './setting.ts';

/** Settings by their key, in the order of help and documentation. */
export type Declarations = Readonly<Record<string, Setting<unknown>>>;

/** All settings of one program. */
export interface Settings<D extends Declarations = Declarations> {
  /** The program's name, for help. */
  readonly program: string;
  readonly declarations: D;
}

/** The values of settings: what a program works with. */
export type SettingsOf<S extends Settings> = {
  readonly [Key in keyof S['declarations']]: S['declarations'][Key] extends {
    parse(text: string, name: string): infer T;
  }
    ? T
    : never;
};

/**
 * Declares a program's settings. The key `queueLimit` is the flag `--queue-limit` and the environment's
 * `CLIP_GEN_QUEUE_LIMIT`.
 *
 * @throws ClipGenError `internal` for a key that is not camelCase or a default outside its own range
 */
export function defineSettings<const D extends Declarations>(program: string, declarations: D): Settings<D> {
  for (const [key, setting] of Object.entries(declarations)) {
    if (!/^[a-z][a-zA-Z0-9]*$/.test(key) || key === 'help' || /^no[A-Z]/.test(key)) {
      throw new ClipGenError('internal', `setting ${key}: a key is camelCase, not help, and does not begin with no`);
    }
    if (setting.default === undefined) continue;
    try {
      setting.parse(setting.format(setting.default), 'its default');
    } catch (cause) {
      throw new ClipGenError('internal', `setting ${key}: the default is out of its range`, { cause });
    }
  }
  return { program, declarations };
}

/** `queueLimit` → `--queue-limit` */
export function flagName(key: string): string {
  return `--${key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
}

/** `queueLimit` → `CLIP_GEN_QUEUE_LIMIT` */
export function environmentName(key: string): string {
  return `${ENVIRONMENT_PREFIX}${key.replace(/[A-Z]/g, (letter) => `_${letter}`).toUpperCase()}`;
}

/** What names of the environment begin with. */
export const ENVIRONMENT_PREFIX = 'CLIP_GEN_';
