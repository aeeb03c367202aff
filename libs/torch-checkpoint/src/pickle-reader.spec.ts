import { describe, expect, it } from 'vitest';
import {
  type PickleDict,
  type PickleSet,
  PickleTuple,
  type TensorReference,
  type PickleValue,
} from './pickle-value.ts';
import { TorchMeaning } from './torch-meaning.ts';
import { unpickle } from './unpickle.ts';

/** The value of a pickle that is written as text, bytes outside ASCII as `\xNN`. */
function load(text: string, scripted = false): PickleValue {
  return unpickle('a.pt', Buffer.from(text, 'latin1'), new TorchMeaning('a.pt', scripted)).value;
}

describe('plain values', () => {
  it.each<[string, PickleValue]>([
    ['N.', null],
    ['\x88.', true],
    ['I00\n.', false],
    ['I-7\n.', -7],
    ['L12L\n.', 12],
    ['J\xff\xff\xff\xff.', -1],
    ['K\xff.', 255],
    ['M\x01\x02.', 513],
    ['\x8a\x00.', 0],
    ['\x8a\x01\xff.', -1],
    ['\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.', 0x1950a86a20f9469cfc6cn],
    ['G\x3f\xf8\x00\x00\x00\x00\x00\x00.', 1.5],
    ['F2.5\n.', 2.5],
    ["S'a b'\n.", 'a b'],
    ['U\x02\xe9\x41.', 'éA'],
    ['X\x02\x00\x00\x00\xc3\xa9.', 'é'],
    ['(I1\nI2\nl.', [1, 2]],
    ['](K\x01K\x02e.', [1, 2]],
  ])('%j', (text, value) => {
    expect(load(text)).toEqual(value);
  });

  it('tuples, dictionaries, sets and memos', () => {
    expect(load('K\x01K\x02\x86.')).toEqual(new PickleTuple([1, 2]));
    const dict = load('\x80\x02}q\x00(U\x01aK\x01U\x01bh\x00u.') as PickleDict;
    expect(dict.get('a')).toBe(1);
    expect(dict.get('b')).toBe(dict); // a ring is no harm
    expect((load('\x8f(K\x01K\x02\x90.') as PickleSet).items).toEqual([1, 2]);
    expect((load('c__builtin__\nset\n](K\x05e\x85R.') as PickleSet).items).toEqual([5]);
  });

  it('OrderedDict with items and with attributes of its own', () => {
    const dict = load('ccollections\nOrderedDict\n(](U\x01aK\x01\x86etR}U\x09_metadataNsb.') as PickleDict;
    expect([...dict.entries]).toEqual([['a', 1]]);
  });
});

const STORAGE = '(U\x07storagectorch\nFloatStorage\nU\x010U\x03cpuK\x06tQ';
const tensor = (shape: string, strides: string, offset = 'K\x00'): string =>
  `ctorch._utils\n_rebuild_tensor_v2\n(${STORAGE}${offset}${shape}${strides}\x89ccollections\nOrderedDict\n)RtR.`;

describe('tensors', () => {
  it('are views that lie within their storage', () => {
    const found = load(tensor('K\x02K\x03\x86', 'K\x01K\x02\x86')) as TensorReference;
    expect(found).toMatchObject({ type: 'float32', shape: [2, 3], strides: [1, 2], offset: 0 });
    expect(found.storage).toMatchObject({ key: '0', byteLength: 24 });
  });

  it.each([
    ['past the end', tensor('K\x02K\x04\x86', 'K\x04K\x01\x86'), /must lie within 24 bytes/],
    ['past the end by its offset', tensor('K\x06\x85', 'K\x01\x85', 'K\x01'), /must lie within 24 bytes/],
    ['of a negative size', tensor('J\xff\xff\xff\xff\x85', 'K\x01\x85'), /a size must be an integer in \[0, 2\^53\)/],
    [
      'of 2^62 elements',
      tensor('\x8a\x08\x00\x00\x00\x00\x00\x00\x00\x40\x85', 'K\x00\x85'),
      /a size must be an integer/,
    ],
    [
      'of 2^80 elements by product',
      tensor('J\x00\x00\x00\x40K\x02\x86'.replace('K\x02', 'J\x00\x00\x00\x40'), 'K\x00K\x00\x86'),
      /must lie within/,
    ],
    ['with too few strides', tensor('K\x02K\x03\x86', 'K\x01\x85'), /2 dimensions has 1 strides/],
    ['without a storage', 'ctorch._utils\n_rebuild_tensor_v2\n(K\x01K\x00))tR.', /a tensor has no storage/],
    [
      'rebuilt by itself',
      ']q\x00(ctorch._tensor\n_rebuild_from_type_v2\nNh\x00e0ctorch._tensor\n_rebuild_from_type_v2\n(ctorch._tensor\n_rebuild_from_type_v2\nNh\x00NtR.',
      /rebuilt by what rebuilds none/,
    ],
  ])('are refused %s', (_what, text, message) => {
    expect(() => load(text)).toThrow(
      expect.objectContaining({ code: 'data_corrupt', message: expect.stringMatching(message) }),
    );
  });
});

describe('what would run code', () => {
  it.each([
    ['a global', 'cos\nsystem\n.', /its pickle names os\.system/],
    ['a builtin', 'c__builtin__\neval\n.', /its pickle names __builtin__\.eval/],
    ['a name of protocol 4', '\x8c\x02os\x8c\x06system\x93.', /its pickle names os\.system/],
    ['an instance', '(ios\nsystem\n.', /its pickle names os\.system/],
    ['a dotted name', 'ctorch\nnn.Module\n.', /its pickle names torch\.nn\.Module/],
    ['a class of the archive, where there is no TorchScript', 'c__torch__\nM\n.', /its pickle names __torch__\.M/],
    ['a call of a type', 'ctorch\nfloat32\n)R.', /its pickle calls torch\.float32/],
    ['an object of a function', 'ctorch._utils\n_rebuild_tensor_v2\n)\x81.', /makes an object of torch\._utils/],
  ])('is refused by name: %s', (_what, text, message) => {
    const refused = { code: 'failed_precondition', message: expect.stringMatching(message) };
    expect(() => load(text)).toThrow(expect.objectContaining(refused));
  });

  it('an extension code, and a call of a value', () => {
    expect(() => load('\x82\x01.')).toThrow(/byte 0 is no instruction/);
    expect(() => load('K\x01)R.')).toThrow(/it calls what is no function/);
  });

  it('a TorchScript class becomes its attributes', () => {
    const module = load('c__torch__.m\nM\n)\x81}(U\x01wK\x07ub.', true);
    expect(module).toMatchObject({ type: { module: '__torch__.m', name: 'M' } });
  });
});

describe('broken and hostile pickles', () => {
  it.each([
    '',
    '.',
    'N',
    'NN.',
    '(N.',
    'K',
    'h\x05.',
    't.',
    'a.',
    '}K\x01s.',
    ')b.',
    'X\xff\xff\xff\xffab.',
    '\x80\x09.',
  ])('%j is data_corrupt', (text) => {
    expect(() => load(text)).toThrow(expect.objectContaining({ code: 'data_corrupt' }));
  });

  it('cannot make more values than the limit', () => {
    const text = '(' + '}'.repeat(400_000) + '.';
    expect(() => load(text)).toThrow(expect.objectContaining({ code: 'resource_exhausted' }));
  });

  it('cannot copy one long text again and again', () => {
    const head = `c_codecs\nencode\nq\x00X${'\x40\x42\x0f\x00'}${'a'.repeat(1_000_000)}\x85q\x010`;
    expect(() => load(head + 'h\x00h\x01R0'.repeat(20) + 'N.')).toThrow(
      expect.objectContaining({ code: 'resource_exhausted' }),
    );
  });
});
