import { readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { cleanText } from './clean-text.ts';
import { createClipTokenizer } from './create-clip-tokenizer.ts';

const tokenizer = createClipTokenizer();
const golden = gunzipSync(readFileSync(new URL('../goldens/openai.jsonl.gz', import.meta.url)))
  .toString('utf8')
  .trimEnd()
  .split('\n')
  .map((line) => JSON.parse(line) as { text: string; ids: number[] });

describe('encode', () => {
  it("gives the ids of OpenAI's tokenizer", () => {
    expect(golden).toHaveLength(600);
    for (const { text, ids } of golden) expect({ text, ids: tokenizer.encode(text) }).toEqual({ text, ids });
  });

  it('takes long texts whatever is in them, up to a length', () => {
    const ids = tokenizer.encode('abcdefghij'.repeat(3000));
    expect(tokenizer.decode(ids)).toBe('abcdefghij'.repeat(3000));
    expect(tokenizer.encode('\x1b['.repeat(10_000)).length).toBeGreaterThan(0);
    expect(tokenizer.encode(`&${'amp;'.repeat(8000)}`).length).toBeGreaterThan(0);
    expect(tokenizer.decode(tokenizer.encode('&'.repeat(30_000)))).toBe('&'.repeat(30_000));
    expect(() => tokenizer.encode('x'.repeat(32_769))).toThrow('text must be at most 32768 characters long; got 32769');
  });

  it('remembers words without handing out its memory', () => {
    const first = tokenizer.encode('giraffe');
    first[0] = 0;
    expect(tokenizer.encode('giraffe')).not.toEqual(first);
  });
});

describe('tokenize', () => {
  it('frames and pads', () => {
    const tokens = tokenizer.tokenize('a photo of a cat');
    expect(tokens).toHaveLength(77);
    expect([...tokens.subarray(0, 8)]).toEqual([49406, 320, 1125, 539, 320, 2368, 49407, 0]);
    expect(tokens.subarray(7).every((id) => id === 0)).toBe(true);
    expect([...tokenizer.tokenize('', { contextLength: 4 })]).toEqual([49406, 49407, 0, 0]);
  });

  it('fills the context exactly, and refuses or cuts what is longer', () => {
    const words = (count: number): string => Array.from({ length: count }, () => 'cat').join(' ');
    const full = tokenizer.tokenize(words(75));
    expect([full[75], full[76]]).toEqual([2368, 49407]);
    expect(() => tokenizer.tokenize(words(76))).toThrow('text must have at most 75 tokens; got 76: shorten it');
    expect(tokenizer.tokenize(words(500), { truncate: true })).toEqual(full);
    expect([...tokenizer.tokenize(words(9), { truncate: true, contextLength: 2 })]).toEqual([49406, 49407]);
    expect(() => tokenizer.tokenize('x', { contextLength: 1 })).toThrow(
      'contextLength must be an integer in [2, 65536]',
    );
  });
});

describe('decode', () => {
  it('gives the cleaned text back, up to the spaces between words', () => {
    for (const { text, ids } of golden) {
      if (text.includes('<|') || text.includes('\u0345')) continue;
      expect(tokenizer.decode(ids).replace(/\s/g, '')).toBe(cleanText(text).replace(/\s/g, ''));
    }
    expect(tokenizer.decode(tokenizer.tokenize("It's a café 🐱"))).toBe("it 's a café 🐱");
  });

  it('survives half a character and refuses ids that do not exist', () => {
    expect(tokenizer.decode([tokenizer.encode('🐱')[0]! % 256])).toHaveLength(1);
    expect(() => tokenizer.decode([49408])).toThrow('token id must be an integer in [0, 49407]; got 49408');
    expect(() => tokenizer.decode([-1])).toThrow('token id');
    expect(() => tokenizer.decode([1.5])).toThrow('token id');
  });
});

describe('cleanText', () => {
  it.each([
    ['  A\t\n B\u00a0 ', 'a b'],
    ['\u201cHi\u201d it\u2019s', '"hi" it\'s'],
    ['ﬁne ＦＵＬＬ ŉ', 'fine full ʼn'.replace('ʼ', "'")],
    ['a\u0092s \u0085', "a's …"],
    ['&amp;amp;lt;', '<'],
    ['<i>&EACUTE;</i>', '<i>&eacute;</i>'],
    ['&EACUTE;', 'é'],
    ['\ud800x', '\ufffdx'],
    ['\x1b[1;31mred\x1b[0m\x07', 'red'],
    ['e\u0301', 'é'],
  ])('%j → %j', (text, clean) => {
    expect(cleanText(text)).toBe(clean);
  });
});
