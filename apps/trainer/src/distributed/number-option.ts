import { readInteger } from '@clip-gen/config';
import { InvalidArgumentError } from 'commander';

/** Reads an option's value as an integer in [least, most]. */
export function integer(least: number, most: number): (text: string) => number {
  return (text) => {
    const value = readInteger(text, least, most);
    if (value === undefined) throw new InvalidArgumentError(`It must be an integer in [${least}, ${most}].`);
    return value;
  };
}
