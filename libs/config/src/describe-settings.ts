import type { Setting } from './setting.ts';
import { environmentName, flagName, type Settings, type SettingsOf } from './settings.ts';

/** What `--help` prints: `intro`, then each flag with its default, range and meaning. */
export function helpText(settings: Settings, intro: string): string {
  const rows = Object.entries(settings.declarations).map(([key, setting]) => {
    const what = setting.unit === undefined ? setting.description : `${setting.description} In ${setting.unit}.`;
    return [
      `${flagName(key)}${setting.bare ? '' : ` <${valueName(setting)}>`}`,
      `${what} ${setting.range === 'text' ? '' : `${setting.range}; `}${showDefault(setting, 'default ')}`,
    ] as const;
  });
  const width = Math.max(...rows.map(([name]) => name.length), '--help'.length);
  return [
    intro,
    '',
    `usage: ${settings.program} [flags]`,
    '',
    ...rows.map(([name, what]) => `  ${name.padEnd(width)}  ${what}`),
    `  ${'--help'.padEnd(width)}  Prints this.`,
    '',
    `Each flag can be given in the environment too: --some-name as ${environmentName('someName')}. Flags win.`,
  ].join('\n');
}

/** All settings as a Markdown table, for a README. */
export function settingsTable(settings: Settings): string {
  const rows = Object.entries(settings.declarations).map(([key, setting]) => [
    `\`${flagName(key)}\``,
    `\`${environmentName(key)}\``,
    showDefault(setting, '', '`'),
    setting.unit === undefined ? setting.range : `${setting.range} ${setting.unit}`,
    setting.description,
  ]);
  const table = [['flag', 'environment', 'default', 'range', 'what it does'], ...rows].map((row) =>
    row.map((cell) => cell.replaceAll('|', String.raw`\|`)),
  );
  const widths = table[0]?.map((_, column) => Math.max(...table.map((row) => row[column]?.length ?? 0))) ?? [];
  const lines = table.map((row) => `| ${row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join(' | ')} |`);
  lines.splice(1, 0, `| ${widths.map((width) => '-'.repeat(width)).join(' | ')} |`);
  return lines.join('\n');
}

/** Each setting's value as text, for a program's first log line. Secrets read `(hidden)`. */
export function describeSettings<S extends Settings>(settings: S, values: SettingsOf<S>): Record<string, string> {
  const shown: Record<string, string> = {};
  for (const [key, setting] of Object.entries(settings.declarations)) {
    const value: unknown = values[key];
    if (setting.secret && value !== undefined && value !== '') shown[key] = '(hidden)';
    else shown[key] = Array.isArray(value) ? value.join(',') : String(value ?? '');
  }
  return shown;
}

function valueName(setting: Setting<unknown>): string {
  return (
    setting.unit ??
    (/^-?[\d.]+ to /.test(setting.range) ? 'number' : setting.range.replace(', …', ',…').replaceAll(', ', '|'))
  );
}

function showDefault(setting: Setting<unknown>, before: string, quote = ''): string {
  if (setting.default === undefined) return 'required';
  const shown = setting.format(setting.default);
  return shown === '' ? `${before}none` : `${before}${quote}${shown}${quote}`;
}
