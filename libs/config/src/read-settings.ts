import { ClipGenError } from '@clip-gen/errors';
import { nearestName } from './nearest-name.ts';
import { ENVIRONMENT_PREFIX, environmentName, flagName, type Settings, type SettingsOf } from './settings.ts';

/** Where settings are read from. */
export interface SettingSources {
  /** Arguments after the program's name. */
  readonly argv: readonly string[];
  readonly env: Readonly<Record<string, string | undefined>>;
  /**
   * Names of the environment that others read, without which they would count as misspelt: where several programs share
   * one environment. `CLIP_GEN_DEBUG` always belongs to it.
   */
  readonly otherEnvironment?: readonly string[];
}

/** Whether the arguments ask for help: `--help` or `-h`. */
export function asksForHelp(argv: readonly string[]): boolean {
  return argv.includes('--help') || argv.includes('-h');
}

/**
 * Reads all settings: a flag beats the environment, which beats the default. An empty variable counts as unset.
 *
 * @returns frozen
 * @throws ClipGenError `invalid_argument` with everything that is wrong: values out of range, flags and `CLIP_GEN_*` names
 * that do not exist (and the nearest that does), flags given twice, missing values
 */
export function readSettings<S extends Settings>(settings: S, sources: SettingSources): SettingsOf<S> {
  const problems: string[] = [];
  const flags = readFlags(settings, sources.argv, problems);
  const environment = readEnvironment(settings, sources, problems);
  const values: Record<string, unknown> = {};
  for (const [key, setting] of Object.entries(settings.declarations)) {
    const given = flags.get(key) ?? environment.get(key);
    if (given === undefined) {
      if (setting.default === undefined && !problems.some((problem) => problem.startsWith(`${flagName(key)} `))) {
        problems.push(`${flagName(key)} or ${environmentName(key)} must be given (${setting.range})`);
      }
      values[key] = setting.default;
      continue;
    }
    try {
      values[key] = setting.parse(given.text, given.name);
    } catch (error) {
      if (!(error instanceof ClipGenError)) throw error;
      problems.push(error.message);
    }
  }
  if (problems.length > 0) {
    throw new ClipGenError(
      'invalid_argument',
      `${problems.join('; ')} (${settings.program} --help lists all settings)`,
    );
  }
  return Object.freeze(values) as SettingsOf<S>;
}

/** A text and how the user named it. */
interface Given {
  readonly text: string;
  readonly name: string;
}

function readFlags({ declarations }: Settings, argv: readonly string[], problems: string[]): Map<string, Given> {
  const keys = new Map(Object.keys(declarations).map((key) => [flagName(key), key]));
  const given = new Map<string, Given>();
  for (let at = 0; at < argv.length; at++) {
    const argument = argv[at] ?? '';
    const equals = argument.indexOf('=');
    const name = equals < 0 ? argument : argument.slice(0, equals);
    const positive = name.replace(/^--no-/, '--');
    const key = keys.get(name) ?? keys.get(positive);
    const setting = key === undefined ? undefined : declarations[key];
    if (key === undefined || setting === undefined || (name !== flagName(key) && (!setting.bare || equals >= 0))) {
      problems.push(
        name.startsWith('-')
          ? `${shorten(name)} is no flag${didYouMean(name, keys.keys())}`
          : `"${shorten(argument)}" is no flag: flags begin with --`,
      );
      // The next word is most likely this flag's value, which would only be complained about again.
      if (name.startsWith('-') && equals < 0 && argv[at + 1]?.startsWith('-') === false) at++;
      continue;
    }
    let text: string;
    if (equals >= 0) text = argument.slice(equals + 1);
    else if (setting.bare) text = String(name === flagName(key));
    else {
      const next = argv[at + 1];
      // A negative number is a value, another flag is not.
      if (next === undefined || next.startsWith('--')) {
        problems.push(`${name} needs a value (${setting.range})`);
        continue;
      }
      text = next;
      at++;
    }
    const before = given.get(key);
    if (before === undefined) given.set(key, { text, name });
    else if (setting.repeatable) given.set(key, { text: `${before.text},${text}`, name });
    else problems.push(`${flagName(key)} is given twice`);
  }
  return given;
}

function readEnvironment(
  { declarations }: Settings,
  { env, otherEnvironment = [] }: SettingSources,
  problems: string[],
): Map<string, Given> {
  const keys = new Map(Object.keys(declarations).map((key) => [environmentName(key), key]));
  const others = new Set(['CLIP_GEN_DEBUG', ...otherEnvironment]);
  const given = new Map<string, Given>();
  for (const [name, text] of Object.entries(env)) {
    if (!name.startsWith(ENVIRONMENT_PREFIX) || text === undefined || text === '') continue;
    const key = keys.get(name);
    if (key !== undefined) given.set(key, { text, name });
    else if (!others.has(name)) {
      problems.push(`${shorten(name)} in the environment is no setting${didYouMean(name, keys.keys())}`);
    }
  }
  return given;
}

function didYouMean(name: string, names: Iterable<string>): string {
  const nearest = nearestName(name, names);
  return nearest === undefined ? '' : `; did you mean ${nearest}?`;
}

function shorten(name: string): string {
  return name.length > 80 ? `${name.slice(0, 77)}...` : name;
}
