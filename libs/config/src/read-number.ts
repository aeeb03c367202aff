/**
 * A whole number as people write it, in decimal digits with or without a sign.
 *
 * @returns undefined for anything else, and for what lies outside [least, most] or is not exact as a number
 */
export function readInteger(text: string, least: number, most: number): number | undefined {
  const value = /^[+-]?\d{1,16}$/.test(text) ? Number(text) : NaN;
  return Number.isSafeInteger(value) && value >= least && value <= most ? value : undefined;
}

/**
 * A decimal number as people write it: `2`, `0.5`, `.5`, `1e-4`; not `0x10`, `Infinity` or an empty text.
 *
 * @returns undefined for anything else, and for what lies outside [least, most]
 */
export function readNumber(text: string, least: number, most: number): number | undefined {
  const value = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(text) ? Number(text) : NaN;
  return value >= least && value <= most ? value : undefined;
}
