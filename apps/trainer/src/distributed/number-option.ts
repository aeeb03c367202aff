import { InvalidArgumentError } from 'commander';

/** Reads an option's value as an integer in [least, most]. */
export function integer(least: number, most: number): (text: string) => number {
  return (text) => {
    const value = /^\d{1,10}$/.test(text) ? Number(text) : NaN;
    if (value >= least && value <= most) return value;
    throw new InvalidArgumentError(`It must be an integer in [${least}, ${most}].`);
  };
}
