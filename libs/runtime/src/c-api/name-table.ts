import koffi from 'koffi';

/** C strings that stay at their addresses as long as this object lives. */
export class NameTable {
  readonly #bytes: Uint8Array;
  /** Address of each name, in order. */
  readonly pointers: BigUint64Array;
  /** Address of `pointers`, a `const char *const *`. */
  readonly address: bigint;

  constructor(names: readonly string[]) {
    const encoded = names.map((name) => new TextEncoder().encode(name));
    this.#bytes = new Uint8Array(encoded.reduce((sum, name) => sum + name.length + 1, 1));
    const base = BigInt(koffi.address(this.#bytes.buffer));
    this.pointers = new BigUint64Array(Math.max(1, names.length));
    this.address = koffi.address(this.pointers.buffer);
    let offset = 0;
    for (const [i, name] of encoded.entries()) {
      this.#bytes.set(name, offset);
      this.pointers[i] = base + BigInt(offset);
      offset += name.length + 1;
    }
  }
}
