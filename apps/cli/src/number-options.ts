import { readInteger, readNumber } from '@clip-gen/config';
import { InvalidArgumentError } from 'commander';

/** Reads an option's value as an integer in [least, most]. */
export function integer(least: number, most: number): (text: string) => number {
  return (text) => inBounds(readInteger(text, least, most), `an integer in [${least}, ${most}]`);
}

/** Reads an option's value as a decimal number in [least, most]. */
export function decimal(least: number, most: number): (text: string) => number {
  return (text) => inBounds(readNumber(text, least, most), `a number in [${least}, ${most}]`);
}

function inBounds(value: number | undefined, bound: string): number {
  if (value === undefined) throw new InvalidArgumentError(`It must be ${bound}.`);
  return value;
}
