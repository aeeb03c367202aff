/**
 * Bytes in the order of their token ids: first those that are visible characters in Latin-1, then the others. The order
 * comes from merge files, where each byte is written as one visible character.
 */
export const BYTE_ORDER: readonly number[] = (() => {
  const visible = [...range(0x21, 0x7e), ...range(0xa1, 0xac), ...range(0xae, 0xff)];
  return [...visible, ...range(0, 0xff).filter((byte) => !visible.includes(byte))];
})();

/** The token id of each byte, inside a word; at the end of a word it is 256 more. */
export const ID_OF_BYTE: Uint8Array = new Uint8Array(256);
BYTE_ORDER.forEach((byte, id) => (ID_OF_BYTE[byte] = id));

function range(first: number, last: number): number[] {
  return Array.from({ length: last - first + 1 }, (_, i) => first + i);
}
