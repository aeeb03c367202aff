import { invalidArgument } from '@clip-gen/errors';
import { parseAddress } from './parse-address.ts';
import { readInteger, readNumber } from './read-number.ts';

/** One value that a program can be told, with everything that parsing, help and documentation need. */
export interface Setting<T> {
  /** Used where neither flag nor environment say anything; absent: the setting must be given. */
  readonly default?: T;
  /** One sentence without the unit and the range. */
  readonly description: string;
  /** Such as `ms`, `MiB`. */
  readonly unit?: string;
  /** Never printed. */
  readonly secret: boolean;
  /** What may be given, for people: `1 to 4096`, `json, pretty`. */
  readonly range: string;
  /** Given as a bare flag (`--verbose`, `--no-verbose`). */
  readonly bare: boolean;
  /** As a flag it may be given several times. */
  readonly repeatable: boolean;
  /**
   * The value that a text stands for.
   *
   * @param name how the user gave it (`--queue-limit`, `CLIP_GEN_QUEUE_LIMIT`), for the message
   * @throws ClipGenError `invalid_argument` naming `name`, the range and the text
   */
  parse(text: string, name: string): T;
  /** The text that `parse` turns into the value. */
  format(value: T): string;
}

/** What every kind of setting is declared with. */
export interface SettingOptions<T> {
  readonly default?: T;
  readonly description: string;
  readonly unit?: string;
}

/** `true` or `false`; as a flag also bare, or with `no-` before its name. */
export function flag(options: SettingOptions<boolean>): Setting<boolean> {
  return {
    ...options,
    secret: false,
    range: 'true, false',
    bare: true,
    repeatable: false,
    parse(text, name) {
      if (text === 'true' || text === '1') return true;
      if (text === 'false' || text === '0') return false;
      throw invalidArgument(name, 'true or false', text);
    },
    format: String,
  };
}

/** A whole number in [min, max], in decimal digits. */
export function integer(options: SettingOptions<number> & { readonly min: number; readonly max: number }) {
  return numeric(options, readInteger, 'an integer');
}

/** A decimal number in [min, max]. */
export function number(options: SettingOptions<number> & { readonly min: number; readonly max: number }) {
  return numeric(options, readNumber, 'a number');
}

function numeric(
  options: SettingOptions<number> & { readonly min: number; readonly max: number },
  read: (text: string, least: number, most: number) => number | undefined,
  noun: string,
): Setting<number> {
  const { min, max, ...rest } = options;
  return {
    ...rest,
    secret: false,
    range: `${min} to ${max}`,
    bare: false,
    repeatable: false,
    parse(text, name) {
      const value = read(text, min, max);
      if (value !== undefined) return value;
      throw invalidArgument(name, `${noun} in [${min}, ${max}]`, text);
    },
    format: String,
  };
}

/** One of a few words. */
export function choice<const T extends string>(
  options: SettingOptions<NoInfer<T>> & { readonly values: readonly T[] },
): Setting<T> {
  const { values, ...rest } = options;
  return {
    ...rest,
    secret: false,
    range: values.join(', '),
    bare: false,
    repeatable: false,
    parse(text, name) {
      const value = values.find((candidate) => candidate === text);
      if (value === undefined) throw invalidArgument(name, `one of ${values.join(', ')}`, text);
      return value;
    },
    format: String,
  };
}

/** Limits of a text. */
export interface TextOptions extends SettingOptions<string> {
  /** Never printed: not in the start-up log, not in errors. Default false. */
  readonly secret?: boolean;
  /** Characters at most. Default 4096. */
  readonly maxLength?: number;
  /** What the text must match, and in words. */
  readonly pattern?: { readonly regex: RegExp; readonly range: string };
}

/** Any text of at most `maxLength` characters. */
export function text(options: TextOptions): Setting<string> {
  const { secret = false, maxLength = 4096, pattern, ...rest } = options;
  return {
    ...rest,
    secret,
    range: pattern?.range ?? 'text',
    bare: false,
    repeatable: false,
    parse(value, name) {
      const shown = secret ? '(hidden)' : value;
      if (value.length > maxLength) throw invalidArgument(name, `at most ${maxLength} characters`, shown);
      if (pattern && !pattern.regex.test(value)) throw invalidArgument(name, pattern.range, shown);
      return value;
    },
    format: String,
  };
}

/** Where to listen or connect: `host:port`, `[::1]:port`; port 0 lets the system choose. */
export function address(options: SettingOptions<string>): Setting<string> {
  return {
    ...text(options),
    range: 'host:port',
    parse(value, name) {
      parseAddress(value, name);
      return value;
    },
  };
}

/** Several texts, separated by commas; a flag may be repeated instead. Empty entries are left out. */
export function list(
  options: SettingOptions<readonly string[]> & {
    /** What each entry must be. Default: any text. */
    readonly of?: Setting<string>;
    /** Entries at least; default 0. */
    readonly min?: number;
    /** Entries at most; default 256. */
    readonly max?: number;
  },
): Setting<readonly string[]> {
  const { of: entry, min = 0, max = 256, ...rest } = options;
  return {
    ...rest,
    secret: false,
    range: `${entry?.range ?? 'text'}, …`,
    bare: false,
    repeatable: true,
    parse(value, name) {
      const entries = value.split(',').flatMap((part) => part.trim() || []);
      if (entries.length < min || entries.length > max) {
        throw invalidArgument(name, `${min} to ${max} entries separated by commas`, value);
      }
      return entries.map((part) => entry?.parse(part, name) ?? part);
    },
    format: (entries) => entries.join(','),
  };
}
