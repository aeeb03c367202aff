import { z } from 'zod';

/** One setting, for people. */
export interface SettingRow {
  /** Dotted, as `--set` takes it. */
  readonly name: string;
  /** As JSON; empty when there is none. */
  readonly default: string;
  readonly values: string;
  readonly meaning: string;
}

interface JsonSchema {
  readonly type?: string;
  readonly properties?: Readonly<Record<string, JsonSchema>>;
  readonly anyOf?: readonly JsonSchema[];
  readonly oneOf?: readonly JsonSchema[];
  readonly enum?: readonly string[];
  readonly const?: string;
  readonly default?: unknown;
  readonly description?: string;
  readonly minimum?: number;
  readonly exclusiveMinimum?: number;
  readonly maximum?: number;
}

/** Every setting of a training's schema, nested ones by their dotted names. */
export function settingRows(schema: z.ZodType): SettingRow[] {
  return rows('', z.toJSONSchema(schema, { io: 'input' }) as JsonSchema);
}

/** The same as a Markdown table. */
export function settingsTable(schema: z.ZodType): string {
  const lines = settingRows(schema).map((row) => [`\`${row.name}\``, row.default, row.values, row.meaning]);
  const table = [['setting', 'default', 'values', 'meaning'], ['---', '---', '---', '---'], ...lines];
  return table.map((cells) => `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`).join('\n');
}

function rows(prefix: string, schema: JsonSchema): SettingRow[] {
  return Object.entries(schema.properties ?? {}).flatMap(([key, setting]) => {
    const name = prefix + key;
    if (setting.type === 'object') return rows(`${name}.`, setting);
    const value = setting.default === undefined ? '' : `\`${JSON.stringify(setting.default)}\``;
    return [{ name, default: value, values: values(setting), meaning: setting.description ?? '' }];
  });
}

function values(setting: JsonSchema): string {
  const forms = setting.anyOf ?? setting.oneOf;
  if (forms) return forms.map(values).join(', ');
  if (setting.enum) return setting.enum.map((name) => `\`${name}\``).join(', ');
  if (setting.const !== undefined) return `\`${setting.const}\``;
  if (setting.type === 'object') {
    const kind = setting.properties?.['kind']?.const;
    return kind === undefined ? 'an object' : `\`${kind}\``;
  }
  if (setting.type !== 'number' && setting.type !== 'integer') return setting.type === 'boolean' ? 'true, false' : '';
  const { minimum, exclusiveMinimum, maximum } = setting;
  const low = exclusiveMinimum === undefined ? `[${minimum}` : `(${exclusiveMinimum}`;
  const high = maximum === undefined ? '∞)' : `${maximum === Number.MAX_SAFE_INTEGER ? '2^53' : maximum}]`;
  return `${setting.type === 'integer' ? 'integer in ' : ''}${low}, ${high}`;
}
