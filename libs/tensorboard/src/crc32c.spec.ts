import { describe, expect, it } from 'vitest';
import { crc32c, maskedCrc32c } from './crc32c.ts';
import { tfRecord } from './tf-record.ts';

describe('CRC-32C', () => {
  it.each([
    ['nothing', Buffer.alloc(0), 0],
    ['"123456789"', Buffer.from('123456789'), 0xe3069283],
    // RFC 3720, appendix B.4
    ['32 bytes of zeroes', Buffer.alloc(32), 0x8a9136aa],
    ['32 bytes of ones', Buffer.alloc(32, 0xff), 0x62a8ab43],
    ['32 incrementing bytes', Uint8Array.from({ length: 32 }, (_, i) => i), 0x46dd794e],
    ['32 decrementing bytes', Uint8Array.from({ length: 32 }, (_, i) => 31 - i), 0x113fdb5c],
  ])('of %s', (_what, bytes, expected) => expect(crc32c(bytes)).toBe(expected));

  it('is masked by a turn of 15 bits and an addition', () => {
    // 0xe3069283 turned right by 15: 0x2507c60d; plus 0xa282ead8
    expect(maskedCrc32c(Buffer.from('123456789'))).toBe(0xc78ab0e5);
  });
});

describe('a TFRecord', () => {
  it('frames its data by length and two checksums', () => {
    const record = Buffer.from(tfRecord(Buffer.from('123456789')));
    expect(record.length).toBe(25);
    expect(record.readBigUInt64LE(0)).toBe(9n);
    expect(record.readUInt32LE(8)).toBe(maskedCrc32c(record.subarray(0, 8)));
    expect(record.toString('latin1', 12, 21)).toBe('123456789');
    expect(record.readUInt32LE(21)).toBe(0xc78ab0e5);
  });
});
