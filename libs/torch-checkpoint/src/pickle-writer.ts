import type { DType } from '@clip-gen/tensor';
import { storageClassOf } from './element-types.ts';

/** A tensor to be written, dense and row-major. */
export interface WrittenTensor {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
}

const PROTOCOL = 2;

/**
 * The pickle of a state dict in PyTorch's own terms, protocol 2: an OrderedDict of tensors, each a view of the whole
 * storage whose key is its number. `entry` puts it into a dictionary under that name.
 */
export function pickleStateDict(tensors: readonly WrittenTensor[], entry?: string): Uint8Array {
  const out = new PickleText();
  out.bytes(0x80, PROTOCOL);
  if (entry !== undefined) out.code('}').text(entry);
  out.emptyOrderedDict().code('(');
  tensors.forEach(({ name, dtype, shape }, key) => {
    const strides = shape.map((_, axis) => product(shape.slice(axis + 1)));
    out.text(name).global('torch._utils', '_rebuild_tensor_v2').code('(');
    out.code('(').text('storage').global('torch', storageClassOf(dtype));
    out.text(String(key)).text('cpu').integer(product(shape)).code('tQ');
    out.integer(0).tuple(shape).tuple(strides).bytes(0x89).emptyOrderedDict().code('tR');
  });
  out.code('u');
  if (entry !== undefined) out.code('s');
  return out.code('.').finish();
}

function product(sizes: readonly number[]): number {
  return sizes.reduce((all, size) => all * size, 1);
}

class PickleText {
  readonly #parts: Uint8Array[] = [];

  bytes(...values: number[]): this {
    this.#parts.push(Uint8Array.from(values));
    return this;
  }

  /** Instructions by their printable bytes. */
  code(text: string): this {
    this.#parts.push(Buffer.from(text, 'latin1'));
    return this;
  }

  text(value: string): this {
    const bytes = Buffer.from(value);
    const head = Buffer.alloc(5, 'X');
    head.writeUInt32LE(bytes.length, 1);
    this.#parts.push(head, bytes);
    return this;
  }

  global(module: string, name: string): this {
    return this.code(`c${module}\n${name}\n`);
  }

  emptyOrderedDict(): this {
    return this.global('collections', 'OrderedDict').code(')R');
  }

  tuple(values: readonly number[]): this {
    this.code('(');
    for (const value of values) this.integer(value);
    return this.code('t');
  }

  integer(value: number): this {
    const wide = value > 0x7fffffff;
    const bytes = Buffer.alloc(wide ? 10 : 5);
    if (wide) {
      bytes.writeUInt16LE(0x088a); // LONG1 of 8 bytes
      bytes.writeBigInt64LE(BigInt(value), 2);
    } else {
      bytes.write('J');
      bytes.writeInt32LE(value, 1);
    }
    this.#parts.push(bytes);
    return this;
  }

  finish(): Uint8Array {
    return Buffer.concat(this.#parts);
  }
}
