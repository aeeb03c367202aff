import { PickleError } from './pickle-error.ts';
import type { PickleValue } from './pickle-value.ts';

const MAX_TEXT_NUMBER = 400;

/** Bytes of a long integer; those of checkpoints have a few. */
export const MAX_LONG_BYTES = 1024;

/** `01` and `00` are true and false; Python 2 wrote `12L`. */
export function textInteger(text: string): PickleValue {
  if (text === '01' || text === '00') return text === '01';
  if (text.length > MAX_TEXT_NUMBER || !/^[+-]?\d+L?$/.test(text)) throw new PickleError('an integer is none');
  return narrowest(BigInt(text.replace(/^\+|L$/g, '')));
}

/** A decimal number as Python writes it. */
export function textFloat(text: string): number {
  if (text.length > MAX_TEXT_NUMBER || !/^[+-]?(\d+\.?\d*(e[+-]?\d+)?|inf|nan)$/i.test(text)) {
    throw new PickleError('a number is none');
  }
  return Number(text.replace(/inf$/i, 'Infinity').replace(/nan$/i, 'NaN'));
}

/** Two's complement of any length. */
export function littleEndianInteger(bytes: Uint8Array): number | bigint {
  if (bytes.length === 0) return 0;
  const digits = Buffer.from(bytes).reverse().toString('hex');
  return narrowest(BigInt.asIntN(8 * bytes.length, BigInt(`0x${digits}`)));
}

function narrowest(value: bigint): number | bigint {
  const narrow = Number(value);
  return Number.isSafeInteger(narrow) ? narrow : value;
}

/** A string in quotes as Python writes it; one with escapes is not read here. */
export function quoted(text: string): string {
  const found = /^(['"])([^\\]*)\1$/.exec(text);
  if (!found) throw new PickleError('a string is written with escapes');
  return found[2]!;
}
