import { InvalidArgumentError } from 'commander';

/** Reads an option's value as an integer in [least, most]. */
export function integer(least: number, most: number): (text: string) => number {
  return (text) => {
    const value = /^[+-]?\d{1,16}$/.test(text) ? Number(text) : NaN;
    if (Number.isSafeInteger(value) && value >= least && value <= most) return value;
    throw new InvalidArgumentError(`It must be an integer in [${least}, ${most}].`);
  };
}

/** Reads an option's value as a decimal number in [least, most]. */
export function decimal(least: number, most: number): (text: string) => number {
  return (text) => {
    const value = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(text) ? Number(text) : NaN;
    if (value >= least && value <= most) return value;
    throw new InvalidArgumentError(`It must be a number in [${least}, ${most}].`);
  };
}
