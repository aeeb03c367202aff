import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { asciiWords, EmojiIndex, normalHexcode } from './emoji-index.ts';
import { isFlag, isSkinTone, isTrademark } from './left-out.ts';
import { FIRST_PROMPTS, splitOf } from './split.ts';

describe('splitOf', () => {
  it('holds out about one name in ten', () => {
    const names = Array.from({ length: 5000 }, (_, at) => `name-${at}`);
    const held = names.filter((name) => splitOf(name) === 'heldout').length;
    expect(held).toBeGreaterThan(400);
    expect(held).toBeLessThan(600);
  });

  it('follows the written rule', () => {
    const bits = createHash('sha256').update('emoji:owl').digest('hex').slice(0, 8);
    expect(splitOf('owl') === 'heldout').toBe(parseInt(bits, 16) % 10 === 0);
  });

  it('keeps every name behind the first prompts in train', () => {
    for (const name of FIRST_PROMPTS.flatMap(({ names }) => names)) expect(splitOf(name)).toBe('train');
  });
});

describe('names of emoji', () => {
  it('makes file names of ASCII words', () => {
    expect(asciiWords('piñata')).toBe('pinata');
    expect(asciiWords('woman’s boot')).toBe('womans-boot');
    expect(asciiWords('keycap: *')).toBe('keycap-asterisk');
  });

  it('finds one emoji by label in any spelling, by added name and by code points', () => {
    const hotDog = { hexcode: '1F32D', emoji: '🌭', label: 'hot dog', tags: [], group: 'food-drink', subgroup: '' };
    const index = new EmojiIndex([hotDog]);
    index.addName('frankfurter', '1F32D');
    index.addName('frankfurter', 'FFFF');
    for (const name of ['hotdog', 'Hot-Dog', 'hot_dog', 'frankfurter']) expect(index.findByName(name)).toBe(hotDog);
    expect(index.findByName('')).toBeUndefined();
    expect(index.findByHexcode(normalHexcode('1f32d-fe0f'))).toBe(hotDog);
  });
});

describe('what is left out', () => {
  it('knows skin tones by code point and by name', () => {
    expect(isSkinTone('woman-dark', ['1F469-1F3FF'])).toBe(true);
    expect(isSkinTone('woman-medium-dark-skin-tone', [])).toBe(true);
    expect(isSkinTone('woman-mage-tone3', [])).toBe(true);
    expect(isSkinTone('speaker-medium-volume', ['1F509'])).toBe(false);
  });

  it('knows flags and trade marks of private code points', () => {
    expect(isFlag('flag-malawi', [], new Set())).toBe(true);
    expect(isFlag('agender', ['E431'], new Set())).toBe(true);
    expect(isFlag('carp-streamer', ['1F38F'], new Set())).toBe(false);
    expect(isTrademark('firefox', ['E050'])).toBe(true);
    expect(isTrademark('fox', ['1F98A'])).toBe(false);
  });
});
