import type { ParseArgsConfig } from 'node:util';
import { benchOptions } from './measure.ts';

/** The options of a serving bench: `--model`, its own and those of every bench; `--help` prints `usage` and ends. */
export function servingOptions<O extends NonNullable<ParseArgsConfig['options']>>(usage: string, own: O) {
  if (process.argv.includes('--help')) {
    console.log(usage);
    process.exit(0);
  }
  return benchOptions({ model: { type: 'string' }, ...own });
}

/** A whole number of an option, at least 1. */
export function count(name: string, text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1) throw new Error(`--${name} must be a whole number from 1; got ${text}`);
  return value;
}
