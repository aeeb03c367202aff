import type { FileHandle } from 'node:fs/promises';
import { writeBytes } from '@clip-gen/whole-file';
import { crc32 } from './checksum.ts';

/** Where the bytes of a record begin in the file: tensors can be mapped, and PyTorch does the same. */
const ALIGN_BYTES = 64;
const WIDE = 0xffffffff;
const LOCAL_BYTES = 30;
const WIDE_EXTRA_BYTES = 4 + 16;
const PADDING_HEAD_BYTES = 4;

interface Written {
  readonly name: Buffer;
  readonly crc: number;
  readonly byteLength: number;
  readonly headerOffset: number;
}

/** Writes a zip archive of stored records to an open file, one record after the other; zip64 where sizes need it. */
export class ZipWriter {
  readonly #handle: FileHandle;
  readonly #written: Written[] = [];
  #at = 0;

  /** `handle` stays the caller's. */
  constructor(handle: FileHandle) {
    this.#handle = handle;
  }

  async add(path: string, bytes: Uint8Array): Promise<void> {
    const name = Buffer.from(path);
    const headerOffset = this.#at;
    const wide = bytes.length >= WIDE;
    const fixed = LOCAL_BYTES + name.length + (wide ? WIDE_EXTRA_BYTES : 0) + PADDING_HEAD_BYTES;
    const padding = (ALIGN_BYTES - ((headerOffset + fixed) % ALIGN_BYTES)) % ALIGN_BYTES;
    const record = { name, crc: crc32(bytes), byteLength: bytes.length, headerOffset };
    const header = Buffer.alloc(fixed + padding);
    header.writeUInt32LE(0x04034b50, 0);
    header.writeUInt16LE(wide ? 45 : 20, 4);
    header.writeUInt16LE(UTF8_FLAG, 6);
    header.writeUInt32LE(record.crc, 14);
    header.writeUInt32LE(Math.min(bytes.length, WIDE), 18);
    header.writeUInt32LE(Math.min(bytes.length, WIDE), 22);
    header.writeUInt16LE(name.length, 26);
    header.writeUInt16LE(fixed + padding - LOCAL_BYTES - name.length, 28);
    name.copy(header, LOCAL_BYTES);
    let at = LOCAL_BYTES + name.length;
    if (wide) {
      header.writeUInt16LE(1, at);
      header.writeUInt16LE(16, at + 2);
      header.writeBigUInt64LE(BigInt(bytes.length), at + 4);
      header.writeBigUInt64LE(BigInt(bytes.length), at + 12);
      at += WIDE_EXTRA_BYTES;
    }
    header.writeUInt16LE(PADDING_ID, at);
    header.writeUInt16LE(padding, at + 2);
    await this.#write(header);
    await this.#write(bytes);
    this.#written.push(record);
  }

  /** Writes the directory; nothing can be added after it. */
  async finish(): Promise<void> {
    const start = this.#at;
    for (const record of this.#written) await this.#write(directoryEntry(record));
    const byteLength = this.#at - start;
    const count = this.#written.length;
    await this.#write(endOfArchive(start, byteLength, count));
  }

  async #write(bytes: Uint8Array): Promise<void> {
    await writeBytes(this.#handle, bytes);
    this.#at += bytes.length;
  }
}

const UTF8_FLAG = 1 << 11;
/** `FB`: the extra field by which PyTorch's own writer pads. */
const PADDING_ID = 0x4246;

function directoryEntry({ name, crc, byteLength, headerOffset }: Written): Buffer {
  const values = [byteLength, byteLength, headerOffset];
  const wide = values.filter((value) => value >= WIDE);
  const extraBytes = wide.length === 0 ? 0 : 4 + 8 * wide.length;
  const entry = Buffer.alloc(46 + name.length + extraBytes);
  entry.writeUInt32LE(0x02014b50, 0);
  entry.writeUInt16LE(wide.length > 0 ? 45 : 20, 6);
  entry.writeUInt16LE(UTF8_FLAG, 8);
  entry.writeUInt32LE(crc, 16);
  entry.writeUInt32LE(Math.min(byteLength, WIDE), 20);
  entry.writeUInt32LE(Math.min(byteLength, WIDE), 24);
  entry.writeUInt16LE(name.length, 28);
  entry.writeUInt16LE(extraBytes, 30);
  entry.writeUInt32LE(Math.min(headerOffset, WIDE), 42);
  name.copy(entry, 46);
  if (wide.length > 0) {
    const at = 46 + name.length;
    entry.writeUInt16LE(1, at);
    entry.writeUInt16LE(8 * wide.length, at + 2);
    wide.forEach((value, i) => entry.writeBigUInt64LE(BigInt(value), at + 4 + 8 * i));
  }
  return entry;
}

/** Always with the zip64 form, as PyTorch writes it. */
function endOfArchive(start: number, byteLength: number, count: number): Buffer {
  const end = Buffer.alloc(56 + 20 + 22);
  end.writeUInt32LE(0x06064b50, 0);
  end.writeBigUInt64LE(44n, 4);
  end.writeUInt16LE(45, 12);
  end.writeUInt16LE(45, 14);
  end.writeBigUInt64LE(BigInt(count), 24);
  end.writeBigUInt64LE(BigInt(count), 32);
  end.writeBigUInt64LE(BigInt(byteLength), 40);
  end.writeBigUInt64LE(BigInt(start), 48);
  end.writeUInt32LE(0x07064b50, 56);
  end.writeBigUInt64LE(BigInt(start + byteLength), 64);
  end.writeUInt32LE(1, 72);
  end.writeUInt32LE(0x06054b50, 76);
  end.writeUInt16LE(Math.min(count, 0xffff), 84);
  end.writeUInt16LE(Math.min(count, 0xffff), 86);
  end.writeUInt32LE(Math.min(byteLength, WIDE), 88);
  end.writeUInt32LE(Math.min(start, WIDE), 92);
  return end;
}
