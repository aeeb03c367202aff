import * as zlib from 'node:zlib';

/** Node has had its own since 20.15; it is ten times as fast as the table. */
const native: ((data: Uint8Array, start: number) => number) | undefined = 'crc32' in zlib ? zlib.crc32 : undefined;

/**
 * The CRC-32 of zip archives (ISO 3309, polynomial 0xEDB88320 reflected), as an unsigned integer.
 *
 * @param start the checksum of what came before, to go on from
 */
export function crc32(data: Uint8Array, start = 0): number {
  return native ? native(data, start) : crc32ByTable(data, start);
}

let table: Uint32Array | undefined;

/** The same without Node's own. */
export function crc32ByTable(data: Uint8Array, start = 0): number {
  table ??= makeTable();
  let crc = ~start;
  for (let i = 0; i < data.length; i++) crc = table[(crc ^ data[i]!) & 0xff]! ^ (crc >>> 8);
  return ~crc >>> 0;
}

function makeTable(): Uint32Array {
  return Uint32Array.from({ length: 256 }, (_, byte) => {
    let crc = byte;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? 0xedb88320 ^ (crc >>> 1) : crc >>> 1;
    return crc;
  });
}
