import { describe, expect, it } from 'vitest';
import { captionsOf, phrasesOf } from './captions.ts';
import type { Emoji } from './emoji-index.ts';

const SUV: Emoji = {
  hexcode: '1F699',
  emoji: '🚙',
  label: 'sport utility vehicle',
  tags: ['car', 'drive', 'recreational', 'vehicle'],
  group: 'travel-places',
  subgroup: 'transport-ground',
};
const STYLE = { id: 'noto', package: '@iconify-json/noto', look: 'shaded cartoon' };

describe('captionsOf', () => {
  const subject = { name: 'sport-utility-vehicle', label: SUV.label, emoji: SUV, style: STYLE, colour: 'blue' };

  it('says the measured colour with every usual name', () => {
    expect(captionsOf(subject)).toContain('a blue car');
    expect(captionsOf({ ...subject, colour: undefined }).some((caption) => caption.includes('blue'))).toBe(false);
  });

  it('never repeats a caption, and gives the same ones each time', () => {
    const captions = captionsOf(subject);
    expect(new Set(captions).size).toBe(captions.length);
    expect(captionsOf({ ...subject })).toEqual(captions);
  });

  it('does not add a colour to a name that has one, or to people', () => {
    const apple = { ...subject, name: 'red-apple', label: 'red apple', colour: 'green' };
    expect(captionsOf(apple)).not.toContain('a green red apple');
    expect(captionsOf(apple)).toContain('a green apple');
    const person = { ...SUV, group: 'people-body' };
    expect(captionsOf({ ...subject, emoji: person }).some((caption) => caption.includes('blue'))).toBe(false);
  });

  it('keeps an icon without an emoji to its own words', () => {
    const captions = captionsOf({ ...subject, name: 'barcode', label: 'barcode', emoji: undefined });
    expect(captions.slice(0, 3)).toEqual(['barcode', 'a barcode', 'a picture of a barcode']);
  });
});

describe('phrasesOf', () => {
  it('adds the short name when it is a tag of the emoji', () => {
    const boot = { ...SUV, label: 'hiking boot', tags: ['boot', 'hiking'], group: 'objects' };
    expect(phrasesOf('hiking boot', boot)).toEqual(['hiking boot', 'boot']);
    expect(phrasesOf('goat face', { ...boot, tags: ['goat'] })).toEqual(['goat face', 'goat']);
    expect(phrasesOf('hiking boot', { ...boot, tags: ['shoe'] })).toEqual(['hiking boot']);
  });
});
