import { describe, expect, it } from 'vitest';
import { createClipTokenizer } from './create-clip-tokenizer.ts';
import { cutVocabulary } from './cut-vocabulary.ts';
import { tokenizerFromJson, tokenizerToJson } from './tokenizer-json.ts';
import { BYTE_TOKENS, Vocabulary } from './vocabulary.ts';

const whole = createClipTokenizer();
const texts = ['a photo of a cat', 'a photo of two dogs', 'the umbrella, the sunset & the café 🐱', 'a cat'];

describe('cutVocabulary', () => {
  it('encodes its corpus as before, under new ids', () => {
    const { tokenizer, oldIds } = cutVocabulary(whole, texts, 49408);
    expect(tokenizer.vocabularySize).toBeLessThan(700);
    expect(oldIds).toHaveLength(tokenizer.vocabularySize);
    for (const text of texts) {
      const ids = tokenizer.encode(text);
      expect(ids.map((id) => oldIds[id])).toEqual(whole.encode(text));
      expect(Math.max(...ids)).toBeLessThan(tokenizer.startOfText);
    }
    expect(tokenizer.endOfText).toBe(tokenizer.vocabularySize - 1);
    expect(tokenizer.startOfText).toBe(tokenizer.vocabularySize - 2);
    expect([oldIds.at(-2), oldIds.at(-1)]).toEqual([49406, 49407]);
    expect(Math.max(...tokenizer.tokenize('a cat'))).toBe(tokenizer.endOfText);
    expect([...oldIds]).toEqual([...new Set(oldIds)].sort((a, b) => a - b));
  });

  it('keeps the most used tokens within its size, and encodes everything', () => {
    const { tokenizer } = cutVocabulary(whole, texts, 530);
    expect(tokenizer.vocabularySize).toBeLessThanOrEqual(530);
    expect(tokenizer.encode('photo cat')).toHaveLength(2);
    expect(tokenizer.encode('umbrella').length).toBeGreaterThan(whole.encode('umbrella').length);
    for (const text of [...texts, 'Zürich 東京 \u0000 <|endoftext|>', 'qqq']) {
      expect(tokenizer.decode(tokenizer.encode(text))).toBe(whole.decode(whole.encode(text)));
    }
    const bytes = cutVocabulary(whole, texts, 514).tokenizer;
    expect(bytes.vocabularySize).toBe(514);
    expect(bytes.encode('cat')).toHaveLength(3);
    expect(() => cutVocabulary(whole, texts, 513)).toThrow('maxSize must be an integer >= 514; got 513');
  });

  it('can be cut again', () => {
    const once = cutVocabulary(whole, texts, 600);
    const twice = cutVocabulary(once.tokenizer, texts.slice(0, 1), 600);
    expect(twice.tokenizer.encode(texts[0]!).map((id) => once.oldIds[twice.oldIds[id]!])).toEqual(
      whole.encode(texts[0]!),
    );
  });
});

describe('tokenizer files', () => {
  const { tokenizer } = cutVocabulary(whole, texts, 600);
  const json = tokenizerToJson(tokenizer);

  it('come back as they were', () => {
    const again = tokenizerFromJson(json);
    expect(again.vocabularySize).toBe(tokenizer.vocabularySize);
    for (const text of texts) expect(again.encode(text)).toEqual(tokenizer.encode(text));
    expect(tokenizerToJson(again)).toBe(json);
    expect(tokenizerFromJson(tokenizerToJson(whole)).encode('a photo')).toEqual([320, 1125]);
  });

  const file = JSON.parse(json) as Record<string, unknown>;
  const merges = file['merges'] as number[];
  it.each([
    ['{', 'model/tokenizer.json must be JSON'],
    ['null', 'must have "format": "clip-gen-tokenizer"'],
    [{ ...file, format: 'x' }, 'must have "format"'],
    [{ ...file, version: 2 }, 'must have "version": 1'],
    [{ ...file, merges: 3 }, 'must have "merges", a list'],
    [{ ...file, merges: ['1', '2'] }, 'must have "merges", a list'],
    [{ ...file, merges: merges.slice(1) }, 'pairs of ids'],
    [{ ...file, merges: [] }, 'must have "vocabularySize": 514; got 547'],
    [{ ...file, vocabularySize: 601 }, 'must have "vocabularySize": 547; got 601'],
    [{ ...file, merges: [0, 1.5] }, 'merge 0 must be of two tokens before it; got [0, 1.5]'],
    [{ ...file, merges: [-1, 0] }, 'merge 0 must be of two tokens before it'],
    [{ ...file, merges: [0, 512] }, 'merge 0 must be of two tokens before it'],
    [{ ...file, merges: [256, 0] }, 'merge 0 must not go on after the end of a word'],
    [{ ...file, merges: [0, 256, 512, 0] }, 'merge 1 must not go on after the end of a word'],
    [{ ...file, merges: [0, 1, 0, 1] }, 'merge 1 must not be made twice'],
    [
      { ...file, merges: [0, 0, ...Array.from({ length: 11 }, (_, i) => [512 + i, 512 + i]).flat()] },
      'at most 1024 bytes',
    ],
  ])('are refused when broken (%#)', (content, message) => {
    const text = typeof content === 'string' ? content : JSON.stringify(content);
    expect(() => tokenizerFromJson(text, 'model/tokenizer.json')).toThrow(message);
  });
});

describe('Vocabulary', () => {
  it('knows the parts and bytes of a token', () => {
    const { vocabulary } = whole;
    const [cat] = whole.encode('cat');
    expect(Buffer.from(vocabulary.piece(cat!)!.bytes).toString()).toBe('cat');
    expect(vocabulary.piece(cat!)!.endsWord).toBe(true);
    const [left, right] = vocabulary.parts(cat!)!;
    expect(vocabulary.rank(left, right)).toBe(cat! - BYTE_TOKENS);
    expect(vocabulary.parts(5)).toBeUndefined();
    expect(vocabulary.piece(vocabulary.endOfText)).toBeUndefined();
    expect(new Vocabulary([], 'empty').size).toBe(514);
  });
});
