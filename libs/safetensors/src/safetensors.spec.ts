import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { tensor, type Tensor } from '@clip-gen/tensor';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openSafetensors, readSafetensors, writeSafetensors } from './index.ts';

const goldens = join(import.meta.dirname, '../goldens');

/** The tensors of tools/goldens/safetensors_files.py. */
const tensors = new Map<string, Tensor>([
  ['f32', tensor('float32', [2, 3], new Float32Array([0, -1.5, 3.25, 1e-45, 3e38, Infinity]))],
  ['f16', tensor('float16', [4], new Uint16Array([0x3c00, 0xc000, 0x7bff, 0x0001]))],
  ['bf16', tensor('bfloat16', [2], new Uint16Array([0x3f80, 0xc049]))],
  ['f64', tensor('float64', [], new Float64Array([0.1]))],
  ['i8', tensor('int8', [3], new Int8Array([-128, 0, 127]))],
  ['u8', tensor('uint8', [2], new Uint8Array([0, 255]))],
  ['i32', tensor('int32', [2, 1], new Int32Array([-(2 ** 31), 2 ** 31 - 1]))],
  ['i64', tensor('int64', [2], new BigInt64Array([2n ** 53n + 1n, -(2n ** 63n)]))],
  ['bool', tensor('bool', [3], new Uint8Array([1, 0, 1]))],
  ['empty', tensor('float32', [0, 3], new Float32Array(0))],
  ['näme "quoted" \n', tensor('int32', [1], new Int32Array([7]))],
]);
const metadata = { format: 'pt', note: 'ü' };

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'safetensors-'));
});
afterAll(() => rm(folder, { recursive: true }));

describe('safetensors files', () => {
  it('of the Python package are read', async () => {
    const path = join(goldens, 'python.safetensors');
    expect(sortedByName(await readSafetensors(path))).toEqual(sortedByName(tensors));
    const file = await openSafetensors(path);
    expect(Object.fromEntries(file.metadata)).toEqual(metadata);
    await file.close();
  });

  it('are written as the file that the Python package was seen to read', async () => {
    const path = join(folder, 'written.safetensors');
    await writeSafetensors(path, tensors, metadata);
    const written = await readFile(path);
    expect(written.equals(await readFile(join(goldens, 'clip-gen.safetensors')))).toBe(true);
    expect(sortedByName(await readSafetensors(path))).toEqual(sortedByName(tensors));
  });

  it('are equal for equal tensors in any order', async () => {
    const [a, b] = [join(folder, 'a.safetensors'), join(folder, 'b.safetensors')];
    await writeSafetensors(a, tensors);
    await writeSafetensors(b, [...tensors].reverse());
    expect(await readFile(a)).toEqual(await readFile(b));
  });

  it('start their data at a multiple of 64 bytes and align every tensor to its elements', async () => {
    for (let length = 1; length <= 70; length++) {
      const path = join(folder, 'aligned.safetensors');
      await writeSafetensors(path, new Map([...tensors, ['x'.repeat(length), tensor('int8', [1], new Int8Array(1))]]));
      const file = await openSafetensors(path);
      const entries = [...file.entries.values()];
      expect((entries[0]?.byteOffset ?? NaN) % 64).toBe(0);
      for (const { name, byteOffset } of entries) {
        const bytes = tensors.get(name)?.data.BYTES_PER_ELEMENT ?? 1;
        expect(byteOffset % bytes, name).toBe(0);
      }
      await file.close();
    }
  });

  it('say where each tensor lies in the file', async () => {
    const path = join(goldens, 'python.safetensors');
    const file = await openSafetensors(path);
    const entry = file.entries.get('i64');
    expect(entry).toMatchObject({ name: 'i64', dtype: 'int64', shape: [2], byteLength: 16 });
    const bytes = await readFile(path);
    expect(bytes.readBigInt64LE(entry?.byteOffset)).toBe(2n ** 53n + 1n);
    await file.close();
  });

  it('are read into memory of the caller', async () => {
    const file = await openSafetensors(join(goldens, 'python.safetensors'));
    const target = new Float32Array(8).fill(9);
    await file.readInto('f32', target.subarray(1, 7));
    expect(target).toEqual(new Float32Array([9, 0, -1.5, 3.25, 1e-45, 3e38, Infinity, 9]));
    await expect(file.readInto('f32', target)).rejects.toThrow('target must hold 24 bytes of float32');
    await expect(file.readInto('f32', new Int32Array(6))).rejects.toThrow('got 24 bytes in a Int32Array');
    await expect(file.read('f33')).rejects.toMatchObject({ code: 'not_found' });
    await file.close();
  });

  it('may hold nothing', async () => {
    const path = join(folder, 'nothing.safetensors');
    await writeSafetensors(path, []);
    expect((await readFile(path)).length).toBe(64);
    expect((await readSafetensors(path)).size).toBe(0);
  });

  it('keep names that mean something to JavaScript', async () => {
    const path = join(folder, 'names.safetensors');
    const names = ['__proto__', 'constructor', 'toString', '', '0', 'a.b/c', '\u{1f600}'];
    const one = tensor('uint8', [1], new Uint8Array([1]));
    await writeSafetensors(
      path,
      names.map((name) => [name, one] as const),
      new Map([['__proto__', 'x']]),
    );
    expect([...(await readSafetensors(path)).keys()].sort()).toEqual([...names].sort());
    const file = await openSafetensors(path);
    expect(file.metadata.get('__proto__')).toBe('x');
    expect(file.entries.has('hasOwnProperty')).toBe(false);
    await file.close();
  });
});

describe('writeSafetensors', () => {
  const good = tensor('float32', [1], new Float32Array([1]));

  it.each<[string, [string, Tensor][], string]>([
    ['equal names', [['a', good], ['a', good]], 'tensors must have one "a"; got two'], // prettier-ignore
    ['the reserved name', [['__metadata__', good]], 'must not be named __metadata__'],
    ['half a surrogate pair', [['\ud800', good]], 'well-formed Unicode'],
    ['data of another size', [['a', { ...good, shape: [2] }]], 'tensor "a" must hold 2 elements of float32; got 1'],
    ['data of another type', [['a', { ...good, dtype: 'float16' }]], 'must hold 1 elements of float16'],
  ])('refuses %s', async (_what, entries, message) => {
    const path = join(folder, 'refused.safetensors');
    await expect(writeSafetensors(path, entries)).rejects.toThrow(message);
    await expect(readFile(path)).rejects.toThrow('ENOENT');
  });

  it('leaves the old file and no other when it fails', async () => {
    const inside = await mkdtemp(join(folder, 'atomic-'));
    const path = join(inside, 'model.safetensors');
    await writeSafetensors(path, [['a', good]]);
    await writeSafetensors(path, [['b', good]]);
    expect(await readdir(inside)).toEqual(['model.safetensors']);
    expect([...(await readSafetensors(path)).keys()]).toEqual(['b']);
    // A folder in the way makes the last step, the rename, fail.
    await expect(writeSafetensors(inside, [['a', good]])).rejects.toThrow();
    expect((await readdir(folder)).filter((name) => name.endsWith('.tmp'))).toEqual([]);
    expect([...(await readSafetensors(path)).keys()]).toEqual(['b']);
  });
});

describe('corrupt files', () => {
  const ok = '{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}';

  function file(header: string | Uint8Array, dataBytes = 8, headerLength?: bigint): Buffer {
    const text = Buffer.from(header);
    const prefix = Buffer.alloc(8);
    prefix.writeBigUInt64LE(headerLength ?? BigInt(text.length));
    return Buffer.concat([prefix, text, Buffer.alloc(dataBytes)]);
  }

  async function open(bytes: Uint8Array): Promise<unknown> {
    const path = join(folder, 'corrupt.safetensors');
    await writeFile(path, bytes);
    return readSafetensors(path);
  }

  it('are built by this test from a good one', async () => {
    await expect(open(file(ok))).resolves.toHaveProperty('size', 1);
    await expect(open(file(ok.replaceAll(',', ' ,\n\t')))).resolves.toHaveProperty('size', 1);
  });

  const two = (offsets: string, second: string): string =>
    `{"a":{"dtype":"U8","shape":[4],"data_offsets":${offsets}},"b":{"dtype":"U8","shape":[4],"data_offsets":${second}}}`;

  it.each<[string, Buffer, string]>([
    ['empty', Buffer.alloc(0), '0 bytes cannot hold a header'],
    ['cut in the length', Buffer.alloc(7), '7 bytes cannot hold a header'],
    ['cut in the header', file(ok, 0).subarray(0, 30), 'header length must be in [2, 22]; got 54'],
    ['cut in the data', file(ok, 7), 'tensor "a" ends at byte 70 of a file of 69 bytes'],
    ['longer than its tensors', file(ok, 9), 'the tensors end at byte 70 of a file of 71 bytes'],
    ['a header of 0 bytes', file('', 8), 'header length must be in [2, 8]; got 0'],
    ['a header past the file', file(ok, 8, 63n), 'header length must be in [2, 62]; got 63'],
    ['a header of 2^64 - 1 bytes', file(ok, 8, 2n ** 64n - 1n), 'got 18446744073709551615'],
    ['not JSON', file('not JSON'), 'expected { at character 0; found "not JSON"'],
    ['an array', file('[]'), 'expected { at character 0'],
    ['a space first', file(` ${ok}`), 'expected { at character 0'],
    ['an open header', file(ok.slice(0, -1)), 'expected } at character 53'],
    ['text after the header', file(`${ok}{}`), 'expected the end of the header at character 54'],
    ['not UTF-8', file(Buffer.from(ok.replace('a', '\xff'), 'latin1')), 'not valid'],
    ['a bad escape', file(ok.replace('"a"', '"\\x"')), 'expected a well-formed string at character 1'],
    ['an endless string', file('{"aaaa\\'), 'expected a well-formed string at character 1'],
    ['a control character in a name', file(ok.replace('"a"', '"\n"')), 'expected a well-formed string'],
    ['offset outside', file(ok.replace('0,8', '8,16')), 'leaves a hole before it'],
    ['end outside', file(two('[0,4]', '[4,8]'), 6), 'tensor "b" ends at byte'],
    ['overlap', file(two('[0,4]', '[2,6]'), 6), 'tensor "b" overlaps the tensor before it'],
    ['same bytes twice', file(two('[0,4]', '[0,4]'), 4), 'overlaps the tensor before it'],
    ['hole', file(two('[0,4]', '[5,9]'), 9), 'tensor "b" leaves a hole before it'],
    ['offsets the wrong way', file(ok.replace('0,8', '8,0')), 'begin <= end; got [8, 0]'],
    ['one offset', file(ok.replace('0,8', '8')), 'must be [begin, end]'],
    ['three offsets', file(ok.replace('0,8', '0,8,9')), 'must be [begin, end]'],
    ['offset not an integer', file(ok.replace('0,8', '0,8.0')), 'expected an integer from 0 to 2^53 - 1'],
    ['offset 2^53', file(ok.replace('0,8', `0,${2 ** 53}`)), 'expected an integer from 0 to 2^53 - 1'],
    ['size too small', file(ok.replace('[2]', '[1]')), 'tensor "a" must have 4 bytes for F32 [1]; got 8'],
    ['size too large', file(ok.replace('[2]', '[3]')), 'must have 12 bytes'],
    ['size past 2^53', file(ok.replace('[2]', '[4294967296,4294967296]')), 'must hold fewer than 2^53 bytes'],
    ['negative shape', file(ok.replace('[2]', '[-2]')), 'expected an integer from 0 to 2^53 - 1'],
    ['negative shapes', file(ok.replace('[2]', '[-1,-2]')), 'expected an integer from 0 to 2^53 - 1'],
    ['shape not a list', file(ok.replace('[2]', '2')), 'expected ['],
    ['rank 65', file(ok.replace('[2]', `[2${',1'.repeat(64)}]`)), 'at most 64 numbers'],
    ['deep nesting', file(`{"a":${'['.repeat(100_000)}`), 'expected {'],
    ['unknown dtype', file(ok.replace('F32', 'F33')), 'unknown dtype "F33"'],
    ['dtype __proto__', file(ok.replace('F32', '__proto__')), 'unknown dtype "__proto__"'],
    ['dtype not a string', file(ok.replace('"F32"', '32')), 'expected a string'],
    ['no dtype', file(ok.replace('"dtype":"F32",', '')), 'expected dtype, shape and data_offsets'],
    ['dtype twice', file(ok.replace('"dtype"', '"dtype":"F32","dtype"')), 'expected one "dtype", not two'],
    [
      'a field __proto__',
      file(ok.replace('"dtype"', '"__proto__":{},"dtype"')),
      'expected dtype, shape or data_offsets',
    ],
    ['equal names', file(`{${ok.slice(1, -1)},${ok.slice(1, -1)}}`), 'expected one "a", not two'],
    [
      'equal names spelt apart',
      file(`{${ok.slice(1, -1)},${ok.slice(1, -1).replace('a', '\\u0061')}}`),
      'one "a", not two',
    ],
    ['metadata not strings', file(`{"__metadata__":{"a":1},${ok.slice(1)}`), 'expected a string'],
    ['metadata nested', file(`{"__metadata__":{"a":{}},${ok.slice(1)}`), 'expected a string'],
    ['metadata equal keys', file(`{"__metadata__":{"a":"","a":""},${ok.slice(1)}`), 'expected one "a", not two'],
  ])('are refused: %s', async (_what, bytes, message) => {
    const opened = open(bytes);
    await expect(opened).rejects.toMatchObject({ name: 'ClipGenError', code: 'data_corrupt' });
    await expect(opened).rejects.toThrow(message);
  });

  it('are refused: a header of more than 100 MB, whatever the file', async () => {
    const path = join(folder, 'sparse.safetensors');
    const { open: openFile } = await import('node:fs/promises');
    const handle = await openFile(path, 'w');
    await handle.write(file('', 0, 100_000_001n));
    await handle.truncate(300_000_000);
    await handle.close();
    await expect(openSafetensors(path)).rejects.toThrow('header length must be in [2, 100000000]; got 100000001');
  });

  it('are refused: bool bytes other than 0 and 1', async () => {
    const header = '{"a":{"dtype":"BOOL","shape":[1],"data_offsets":[0,1]}}';
    const bytes = file(header, 1);
    bytes[bytes.length - 1] = 2;
    await expect(open(bytes)).rejects.toThrow('tensor "a" of dtype BOOL must hold 0 and 1 only');
  });

  it('are refused: cut after they were opened', async () => {
    const path = join(folder, 'shrinks.safetensors');
    await writeFile(path, file(ok));
    const opened = await openSafetensors(path);
    await writeFile(path, file(ok, 4));
    await expect(opened.read('a')).rejects.toMatchObject({ code: 'data_corrupt' });
    await opened.close();
  });

  it('are told from element types that are not supported, and from absent files', async () => {
    const foreign = open(file(ok.replace('F32', 'U32')));
    await expect(foreign).rejects.toMatchObject({ code: 'unimplemented' });
    await expect(openSafetensors(join(folder, 'absent'))).rejects.toMatchObject({ code: 'not_found' });
    const below = join(process.execPath, 'x'); // a path through a file
    await expect(openSafetensors(below)).rejects.toMatchObject({
      code: 'failed_precondition',
      message: `${below} cannot be read (ENOTDIR)`,
    });
    await expect(openSafetensors(folder)).rejects.toMatchObject({ code: 'invalid_argument' });
  });
});

function sortedByName(map: ReadonlyMap<string, Tensor>): [string, Tensor][] {
  return [...map].sort(([a], [b]) => (a < b ? -1 : 1));
}
