import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { temporaryFolder } from '@clip-gen/testing';
import { expect, it } from 'vitest';
import { openTorchCheckpoint } from './checkpoint.ts';

const ENTRY = Buffer.from([0x50, 0x4b, 0x01, 0x02]);
const END64 = Buffer.from([0x50, 0x4b, 0x06, 0x06]);
const END = Buffer.from([0x50, 0x4b, 0x05, 0x06]);

/** Where the directory's entry of a record begins. */
function entryOf(bytes: Buffer, name: string): number {
  return bytes.lastIndexOf(ENTRY, bytes.lastIndexOf(Buffer.from(name)));
}

it.each<[string, (bytes: Buffer) => void, string, RegExp]>([
  [
    'a record of 4 GB',
    (b) => b.writeUInt32LE(0xfffffff0, entryOf(b, 'data/0') + 20),
    'data_corrupt',
    /must have one size/,
  ],
  [
    'two records in the same bytes',
    (b) => b.writeUInt32LE(b.readUInt32LE(entryOf(b, 'data/0') + 42), entryOf(b, 'data/1') + 42),
    'data_corrupt',
    /must end by byte/,
  ],
  ['an encrypted record', (b) => b.writeUInt16LE(1, entryOf(b, 'data/0') + 8), 'unimplemented', /is encrypted/],
  [
    '2^40 records',
    (b) => b.writeBigUInt64LE(2n ** 40n, b.lastIndexOf(END64) + 32),
    'resource_exhausted',
    /at most 500000/,
  ],
  [
    'a directory of 2^60 bytes',
    (b) => b.writeBigUInt64LE(2n ** 60n, b.lastIndexOf(END64) + 40),
    'data_corrupt',
    /2\^53/,
  ],
  [
    'a directory past the end',
    (b) => b.writeBigUInt64LE(2n ** 40n, b.lastIndexOf(END64) + 48),
    'data_corrupt',
    /must end by/,
  ],
  ['a split archive', (b) => b.writeUInt16LE(3, b.lastIndexOf(END) + 4), 'unimplemented', /split archive/],
  ['no end', (b) => b.writeUInt32LE(0, b.lastIndexOf(END)), 'data_corrupt', /the end of the zip archive is missing/],
  [
    'a missing storage',
    (b) => b.write('9', b.lastIndexOf(Buffer.from('data/0')) + 5),
    'data_corrupt',
    /comes twice|is missing/,
  ],
])('refuses %s', async (_what, damage, code, message) => {
  const bytes = await readFile(fileURLToPath(new URL('../goldens/tensors.pt', import.meta.url)));
  damage(bytes);
  const path = join(await temporaryFolder(), 'damaged.pt');
  await writeFile(path, bytes);
  await expect(openTorchCheckpoint(path)).rejects.toMatchObject({ code, message: expect.stringMatching(message) });
});
